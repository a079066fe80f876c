"""How often what somebody entered may be tried at its provider: each try may be a failed login there."""

from vault.connection import Path
from vault.errors import TooManyRequests
from vault.store import tries
from vault.store.writer import Writer


async def count_try(writer: Writer, path: Path) -> None:
    """Count a try at *path*, before it is made. Raises TooManyRequests; StorageUnavailable."""
    # Alone: two groups of writes that wait for each other's rows are a deadlock.
    wait = await writer.submit(lambda tx: tries.take(tx.connection, path), alone=True)
    if wait is not None:
        detail = "These credentials were tried too often within a minute."
        raise TooManyRequests(detail, retry_after=wait.total_seconds())
