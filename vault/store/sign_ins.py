"""One-time links to sign in with, and the sessions of the browsers that did: digests and times, no more."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.moments import clock
from vault.store.schema import sessions, sign_ins

_l, _s = sign_ins.c, sessions.c
_LATER = clock() + bindparam("lifetime_ms", type_=BigInteger())
_OPEN = (_l.digest == bindparam("link"), _l.used_at.is_(None), _l.expires_at > clock())
_ADD = insert(sign_ins).values(digest=bindparam("link"), expires_at=_LATER).returning(_l.expires_at)
_FIND = select(_l.digest).where(*_OPEN)
# Single use and in time, in the statement that uses it up: of two at once, the second finds nothing.
_REDEEM = update(sign_ins).where(*_OPEN).values(used_at=clock())
_BEGIN = insert(sessions).values(digest=bindparam("session"), created_at=clock(), expires_at=_LATER)
_LIVING = select(_s.digest).where(_s.digest == bindparam("session"), _s.expires_at > clock())
_END = delete(sessions).where(_s.digest == bindparam("session"))


async def add(tx: AsyncConnection, link: bytes, lifetime: timedelta) -> datetime:
    """Store a new link; return when it ends."""
    ends: datetime = (await tx.execute(_ADD, {"link": link, "lifetime_ms": _ms(lifetime)})).scalar_one()
    return ends


async def is_open(tx: AsyncConnection, link: bytes) -> bool:
    """Say whether *link* can still be used."""
    return await tx.scalar(_FIND, {"link": link}) is not None


async def redeem(tx: AsyncConnection, link: bytes) -> bool:
    """Use *link* up. Returns whether it was still open."""
    return bool((await tx.execute(_REDEEM, {"link": link})).rowcount)


async def begin(tx: AsyncConnection, session: bytes, lifetime: timedelta) -> None:
    """Store a new session."""
    await tx.execute(_BEGIN, {"session": session, "lifetime_ms": _ms(lifetime)})


async def is_living(tx: AsyncConnection, session: bytes) -> bool:
    """Say whether *session* has begun, and neither ended nor grown too old."""
    return await tx.scalar(_LIVING, {"session": session}) is not None


async def end(tx: AsyncConnection, session: bytes) -> bool:
    """Drop *session*. Returns whether it was there."""
    return bool((await tx.execute(_END, {"session": session})).rowcount)


async def prune(tx: AsyncConnection) -> None:
    """Forget the links and sessions whose time is over: they are refused like those that never were."""
    await tx.execute(delete(sign_ins).where(_l.expires_at <= clock()))
    await tx.execute(delete(sessions).where(_s.expires_at <= clock()))


def _ms(lifetime: timedelta) -> int:
    return lifetime // timedelta(milliseconds=1)
