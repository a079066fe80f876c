"""What a server makes first is made before any is forked: its routes, which take half a second."""

from vault.http.server import litestar

litestar(sandbox=False)
