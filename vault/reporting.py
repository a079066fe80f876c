"""Reports that what was handed out is refused downstream: of its token, or of the token that feeds it.

Whoever may use the one gets the token of the other with it, so the report of that is theirs too.
"""

from msgspec import structs

from vault.audit import Event
from vault.sources import Found
from vault.store import rejections
from vault.store.changes import Stale
from vault.store.writer import Transaction, Writer


async def reported(writer: Writer, actor: str, found: Found, fed: Found | None) -> bool:
    """Write down that *actor* reports what *found* hands out now, with the token of what *fed* it if that is.

    Returns whether nobody has reported that token before.
    """

    async def unit(tx: Transaction) -> bool:
        first = await _reject(tx, found)
        if fed is not None:
            first = await _reject(tx, fed)
        outcome = "ok" if first else "repeated"
        for event in _events(actor, outcome, found, fed):
            tx.record(event)
        return first

    # Alone: two groups of writes that wait for each other's rows are a deadlock.
    return await writer.submit(unit, alone=True)


async def outdated(writer: Writer, actor: str, found: Found, fed: Found | None, generation: int) -> None:
    """Write down that *actor* reports a former token, of that *generation*: nothing follows from it."""
    event = found.event(actor, "token.rejected", "outdated", generation)
    await writer.record(event if fed is None else fed_with(event, fed, generation))


def fed_with(event: Event, fed: Found, generation: int) -> Event:
    """Return *event* with whose token of which *generation* went with what was handed out."""
    about = {"fed_by": "/".join(fed.source), "fed_generation": generation}
    return structs.replace(event, detail={**event.detail, **about})


async def _reject(tx: Transaction, found: Found) -> bool:
    first = await rejections.reject(tx.connection, found.connection)
    if first:
        tx.outdate(Stale("connection", found.connection.id))
    return first


def _events(actor: str, outcome: str, found: Found, fed: Found | None) -> list[Event]:
    """Return a line of the audit for the path that was reported, and one for that of what *fed* it."""
    event = found.event(actor, "token.rejected", outcome, found.connection.state.generation)
    if fed is None:
        return [event]
    generation = fed.connection.state.generation
    other = fed.event(actor, "token.rejected", outcome, generation)
    feeds = {**other.detail, "feeds": "/".join(found.source)}
    return [fed_with(event, fed, generation), structs.replace(other, detail=feeds)]
