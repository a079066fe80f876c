"""A person with a browser of their own, who follows a connect link one step at a time."""

import asyncio
import http.client
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from sqlalchemy import text

from tests.rig import PROVIDER, TENANT, Rig
from vault.store.schema import AnyRow


class Person:
    """Keeps cookies as browsers do, and what addresses it has been at.

    It speaks below httpx's clients, which would log those addresses, codes and all: every log
    record of a test is searched for secrets, and it is the vault's that shall be.
    """

    def __init__(self, rig: Rig) -> None:
        self.cookies = httpx.Cookies()
        self.seen: list[str] = []
        self._home = rig.vault.settings.public_url
        self._transport = rig.api._transport  # the same application

    async def open(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask for *url*, at the vault or at whatever listens there, and follow nothing."""
        self.seen.append(url)
        if not url.startswith(self._home):
            return await asyncio.to_thread(_over_a_socket, url)
        request = httpx.Request(method, url, headers=headers)
        self.cookies.set_cookie_header(request)
        response = await self._transport.handle_async_request(request)
        await response.aread()
        response.request = request
        self.cookies.extract_cookies(response)
        return response

    async def visit(self, link: str) -> str:
        """Follow a connect link; return where it leads."""
        response = await self.open(link)
        assert response.status_code == 302, response.text
        return response.headers["Location"]

    async def consent(self, asked: str) -> str:
        """Go where the vault sent us; return where the provider sends us back to."""
        response = await self.open(asked)
        assert response.status_code == 302, response.text
        return response.headers["Location"]

    async def go(self, link: str) -> str:
        """Follow a connect link and answer at the provider; return the callback that is not opened yet."""
        return await self.consent(await self.visit(link))

    async def connect(self, link: str) -> httpx.Response:
        """Go all the way; return what is shown in the end."""
        return await self.open(await self.go(link))


def _over_a_socket(url: str) -> httpx.Response:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Asking:
    """What a program asks of the connection it wants connected."""

    rig: Rig
    name: str = "c"
    tenant: str = TENANT
    provider: str = PROVIDER

    @property
    def path(self) -> str:
        return f"/v1/connections/{self.tenant}/{self.provider}/{self.name}"

    async def authorize(self, **body: Any) -> httpx.Response:
        return await self.rig.api.post(f"{self.path}/authorize", json=body)

    async def link(self, **body: Any) -> str:
        """Return a link with which a person connects it."""
        answer = await self.authorize(**body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["connect_url"])

    async def token(self) -> httpx.Response:
        return await self.rig.api.get(f"{self.path}/token")

    async def shown(self) -> dict[str, Any]:
        """Return the connection as the API shows it."""
        answer = await self.rig.api.get(self.path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def audit(self) -> list[tuple[str, str, str, int | None]]:
        """Return who did what to it, with what outcome and which generation, in order."""
        rows = await rows_of(
            self.rig,
            "SELECT actor, action, outcome, generation FROM audit_events WHERE tenant = :tenant"
            " AND provider = :provider AND name = :name ORDER BY at, stream, seq",
            tenant=self.tenant,
            provider=self.provider,
            name=self.name,
        )
        return [tuple(row) for row in rows]


async def rows_of(rig: Rig, statement: str, **values: Any) -> list[AnyRow]:
    async with rig.vault.database.read() as tx:
        return list(await tx.execute(text(statement), values))


async def change(rig: Rig, statement: str, **values: Any) -> int:
    """Change the database behind the vault's back; return how many rows that were."""
    async with rig.vault.database.transaction() as tx:
        return int((await tx.execute(text(statement), values)).rowcount)


def parameters(url: str) -> dict[str, str]:
    """Return the parameters in *url*, each of which is there once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def with_parameters(url: str, **changed: str | None) -> str:
    """Return *url* with other parameters; None takes one away."""
    kept = {name: value for name, value in (parameters(url) | changed).items() if value is not None}
    return str(httpx.URL(url, params=kept))
