"""Writing down that the tokens of a generation were refused downstream: of all who report it, one is the first."""

from datetime import timedelta

from sqlalchemy import BigInteger, and_, bindparam, case, or_, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Connection
from vault.lessons import rejection
from vault.store.moments import Moment, clock
from vault.store.schema import token_states

_state = token_states.c
PACE = timedelta(minutes=1)  # between two tries, at least, however often its token is reported

_lone_token = and_(
    _state.renewal == "none",
    _state.access_expires_at.is_not(None),
    _state.status.not_in(("unconfigured", "failed")),
)
_again = type_coerce(_state.checked_at, BigInteger) + PACE // timedelta(milliseconds=1)
_soon = case((_again > clock(), _again), else_=clock())
# Whoever changes the row has the tokens refreshed. They are due too: the sweep does it if that process dies.
REJECT = (
    update(token_states)
    .where(
        _state.connection_id == bindparam("connection"),
        _state.generation == bindparam("new_rejected_generation"),
        or_(
            _state.rejected_generation.is_(None),
            _state.rejected_generation < bindparam("new_rejected_generation"),
        ),
    )
    .values(
        rejected_generation=bindparam("new_rejected_generation"),
        rejected_age=bindparam("new_rejected_age"),
        learned_lifetime=bindparam("new_learned_lifetime"),
        # A backoff stands; the pace at which living tokens are renewed is none of theirs.
        retry_not_before=case((_state.status == "degraded", _state.retry_not_before), else_=None),
        next_refresh_at=case(
            (
                and_(_state.renewal != "none", _state.status.not_in(("unconfigured", "failed"))),
                bindparam("new_next_refresh_at", type_=Moment),
            ),
            else_=_state.next_refresh_at,
        ),
        # What is never renewed is tried soon, if it ever is, and not some time today; so is a token that ends,
        # which there is nothing to lock with.
        next_check_at=case((or_(_state.next_check_at.is_not(None), _lone_token), _soon), else_=None),
    )
)


async def reject(tx: AsyncConnection, connection: Connection) -> bool:
    """Write down that the tokens in *connection* are refused. Returns whether that is news.

    What is learned from it can be told from what was read: it stays the same until the generation
    moves or somebody reports it, and then nothing is written here.
    """
    left = {f"new_{name}": value for name, value in vars(rejection(connection.state, connection.read_at)).items()}
    return (await tx.execute(REJECT, {"connection": connection.id, **left})).rowcount == 1
