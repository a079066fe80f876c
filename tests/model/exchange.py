"""The refresh exchange as a state machine: two workers, a reader, a provider, a clock, and what may go wrong.

`claim`, `settle_success` and `settle_failure` are the rules that the database statements follow, as pure
functions on one row. Everything below them is the world in which they have to hold: workers that crash or
oversleep at any step, a provider that consumes refresh tokens, a network that loses answers.

Time is a small integer. A state stores times relative to its own present, so its `now` is always 0, and the
step "time" moves every stored time one unit into the past (down to a floor beyond which nothing changes).
That keeps the states finite although time never ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

GRANT_REJECTED = "grant_rejected"
LOST_ROTATION = "lost_rotation"

Failure = Literal["rejected", "not_sent", "unknown"]
ProviderKind = Literal[
    "strict",  # a refresh token works once; presented again, the whole family is revoked
    "one_time",  # a refresh token works once; presented again, it is refused, and nothing is revoked
    "grace",  # for `grace` units a consumed token gets the same successor again, then as strict
    "sibling",  # for `grace` units a consumed token gets another successor, and all of them live
    "latest",  # the same, and only the last successor lives
    "never",  # the refresh token stays what it is
]


# --- the rules -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """What the database knows about one connection's tokens."""

    generation: int = 1
    serial: int = 1  # which refresh token is stored
    access_alive: bool = False
    lease_holder: str | None = None
    lease_expires_at: int | None = None
    lease_fence: int = 0
    attempt_id: str | None = None
    inflight_generation: int | None = None
    retake_after: int | None = None
    uncertain: bool = False
    last_success_attempt: str | None = None
    reason: str | None = None  # set: the row is `failed`, a person must act


def claim(row: Row, *, now: int, attempt: str, seen: int, lease: int, patience: int) -> Row | None:
    """Take the lease and write the intent, or answer None: somebody else has it, wait.

    The same attempt again, after a commit whose answer was lost, finds itself; nothing was sent in between.
    """
    mine = row.attempt_id == attempt
    leased = row.lease_expires_at is not None and row.lease_expires_at > now
    unclosed = row.inflight_generation == row.generation
    waiting = unclosed and row.retake_after is not None and row.retake_after > now
    if row.generation != seen or row.reason is not None or ((leased or waiting) and not mine):
        return None
    return replace(
        row,
        lease_holder=attempt,
        lease_expires_at=now + lease,
        lease_fence=row.lease_fence + 1,
        attempt_id=attempt,
        inflight_generation=row.generation,
        retake_after=now + lease + patience,
        uncertain=row.uncertain or (unclosed and not mine),
    )


def settle_success(row: Row, *, attempt: str, generation: int, fence: int, serial: int) -> Row | None:
    """Store the successor if the generation has not moved, whoever has the lease; None: it has moved."""
    if row.generation != generation:
        return None
    mine = row.lease_fence == fence
    return replace(
        row,
        generation=generation + 1,
        serial=serial,
        access_alive=True,
        lease_holder=None if mine else row.lease_holder,
        lease_expires_at=None if mine else row.lease_expires_at,
        inflight_generation=None,
        retake_after=None,
        uncertain=row.uncertain and not mine,  # overtaken: another one may have sent the same token
        last_success_attempt=attempt,
        reason=None,
    )


def release(row: Row, *, fence: int) -> Row:
    """Give the lease back where it is still this attempt's, without a word on the tokens."""
    return replace(row, lease_holder=None, lease_expires_at=None) if row.lease_fence == fence else row


def settle_failure(
    row: Row, *, generation: int, fence: int, failure: Failure, retake_at: int | None = None
) -> Row | None:
    """Write a failure down if it is still this attempt's turn; None: nobody's business any more.

    `rejected`: the provider said the grant is dead. `not_sent`: any definite failure that leaves the grant
    as it was. `unknown`: sent, and no usable answer; the intent stays open until `retake_after`, or, where
    a retake does no harm, only until *retake_at*.
    """
    if row.generation != generation or row.lease_fence != fence:
        return None
    freed = replace(release(row, fence=fence), reason=None)  # the last word is the holder's
    if failure == "unknown":
        return freed if retake_at is None else replace(freed, retake_after=retake_at)
    closed = replace(freed, inflight_generation=None, retake_after=None)
    if failure == "not_sent":
        return closed
    return replace(closed, reason=LOST_ROTATION if row.uncertain else GRANT_REJECTED)


# --- what can be switched --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """The protections of the exchange; the defaults are what we build, anything else is an ablation."""

    guard: Literal["lease", "row_lock"] = "lease"
    success_fence: Literal["generation", "fence", "live_lease", "none"] = "generation"
    waits: bool = True  # a taker-over outwaits the last holder's worst case
    checks_before_send: bool = True
    clock_from: Literal["before_claim", "after_claim"] = "before_claim"
    takes_late_answer: bool = True  # an answer that has arrived counts, even if the deadline passed asleep
    claim_refuses_failed: bool = True
    overtaken_success_stays_uncertain: bool = True
    trusts_any_grace: bool = False  # True: patience 0 for every grace longer than the lease
    waiter_waits: bool = True  # False: after waiting for a lease in vain it goes on without one


class Faults(NamedTuple):
    """How often each thing may go wrong in one run; a state carries what is left of it."""

    slow: int = 0  # a holder stands still: before sending for ever, after it for less than two leases
    frozen: int = 0  # a holder stands still at any step for any time
    crash: int = 0  # a worker loses its memory and starts again
    cut: int = 0  # the database session of the holder of a row lock dies, the holder does not
    network: int = 0  # a request or an answer gets lost
    delay: int = 0  # a request reaches the provider after its sender gave up, within two leases
    late: int = 0  # a request reaches the provider at any later time
    reply: int = 0  # a claim or a settle is committed, its confirmation is lost
    refusal: int = 0  # the provider answers 429 or the like: definite, and the grant is as it was


@dataclass(frozen=True)
class World:
    """The surroundings: the provider's habits, the times, and the faults."""

    provider: ProviderKind = "strict"
    faults: Faults = field(default_factory=Faults)
    generations: int = 3  # the access token expires while the generation is below this
    lease: int = 4
    deadline: int = 2
    settling: int = 1
    grace: int = 0
    prompt: bool = False  # an idle worker takes up what is due before time passes
    reader: Literal["", "one_statement", "two_statements"] = ""

    def __post_init__(self) -> None:
        if self.deadline + self.settling >= self.lease:
            raise ValueError("the lease must outlast the deadline and the settling")


# --- states ----------------------------------------------------------------------------------------------

NEVER = 1_000_000
REJECTED = 0  # an answer instead of a serial: invalid_grant
REFUSED = -1  # an answer instead of a serial: try again later

Step = Literal["idle", "seen", "untimed", "claimed", "sent", "answered", "stopped", "unknown", "refused"]
BEFORE_SENDING = ("seen", "untimed", "claimed", "stopped")


class Worker(NamedTuple):
    """One worker and its memory, which a crash wipes."""

    step: Step = "idle"
    generation: int = 0
    serial: int = 0  # before the answer the token to send, after it the successor
    attempt: str = ""
    fence: int = 0
    t0: int = 0  # its own clock's idea of when the lease began
    due: int = 0  # when a worker that is awake has taken its next step
    limit: int = 0  # when even a slow worker that has sent has settled
    inbox: int | None = None
    pause: Literal["", "slow", "frozen"] = ""


class Request(NamedTuple):
    """A request that has left its sender and not yet reached the provider."""

    fence: int
    serial: int
    due: int
    held_up: bool = False


class Provider(NamedTuple):
    """The token endpoint's ledger."""

    newest: int = 1
    live: frozenset[int] = frozenset({1})
    grace: tuple[tuple[int, int], ...] = ()  # consumed serial, how long it is still honoured
    revoked: bool = False
    reuses: int = 0  # 2 means twice or more


class Reader(NamedTuple):
    """What the reader has seen last, and whether that was ever wrong."""

    looked_at: int = 0  # the generation found by the first of two statements
    generation: int = 0
    serial: int = 0
    wrong: bool = False


class State(NamedTuple):
    """Everything at one moment."""

    row: Row
    workers: tuple[Worker, ...]
    provider: Provider
    requests: tuple[Request, ...]
    left: Faults
    orphans: tuple[int, ...] = ()
    reader: Reader = Reader()
    stored: tuple[int, ...] = ()  # by generation, for judging the reader
    crashed_at: str = ""


NAMES = ("A", "B")
Move: TypeAlias = tuple[str, State]


def start(world: World) -> State:
    """Two idle workers, and a stored grant whose access token has run out."""
    return State(Row(), (Worker(),) * len(NAMES), Provider(), (), world.faults, stored=(0, 1))


def is_quiet(state: State) -> bool:
    """Whether nobody is in the middle of anything."""
    return not state.requests and all(w.step == "idle" for w in state.workers)


def is_usable(provider: Provider, serial: int) -> bool:
    """Whether the provider would still honour this refresh token."""
    if provider.revoked:
        return False
    return serial in provider.live or any(s == serial and left > 0 for s, left in provider.grace)


def is_lost(state: State) -> bool:
    """Whether the stored refresh token is dead and nobody is about to store a better one."""
    return is_quiet(state) and not is_usable(state.provider, state.row.serial)


def is_flagged(row: Row) -> bool:
    """Whether the row admits that its token may be lost by our own doing."""
    return row.reason == LOST_ROTATION or row.uncertain or row.inflight_generation == row.generation


# --- the world's steps -----------------------------------------------------------------------------------


def present(provider: Provider, serial: int, world: World) -> tuple[Provider, int, str]:
    """What the provider does with a refresh token: its new ledger, its answer, and the step's name."""
    if world.provider == "never":
        return provider, serial, f"provider renews s{serial}"
    if serial in provider.live:
        if provider.revoked:
            return provider, REJECTED, f"provider rejects s{serial}"
        return _rotate(provider, serial, world)
    if is_usable(provider, serial):
        return _honour_again(provider, serial, world)
    reused = provider._replace(reuses=min(provider.reuses + 1, 2))
    if world.provider == "one_time":
        return reused, REJECTED, f"provider sees s{serial} AGAIN, refuses it"
    burnt = reused._replace(revoked=True)
    return burnt, REJECTED, f"provider sees s{serial} AGAIN, revokes the family"


def _rotate(provider: Provider, serial: int, world: World) -> tuple[Provider, int, str]:
    new = provider.newest + 1
    grace = ((serial, world.grace),) if world.grace else ()
    rotated = provider._replace(newest=new, live=provider.live - {serial} | {new}, grace=provider.grace + grace)
    return rotated, new, f"provider rotates s{serial} to s{new}"


def _honour_again(provider: Provider, serial: int, world: World) -> tuple[Provider, int, str]:
    if world.provider == "grace":
        return provider, provider.newest, f"provider repeats s{provider.newest} for s{serial}"
    new = provider.newest + 1
    live = provider.live | {new} if world.provider == "sibling" else frozenset({new})
    return provider._replace(newest=new, live=live), new, f"provider gives s{new} too for s{serial}"


def patience_of(design: Design, world: World) -> int:
    """How long after the lease an unclosed intent is left alone: 0 where a retake can do no harm."""
    harmless = world.provider == "never" or (
        world.provider in ("grace", "sibling") and world.grace >= 2 * world.lease + world.deadline
    )
    trusted = design.trusts_any_grace and world.grace > world.lease
    return 0 if harmless or trusted or not design.waits else world.lease


def moves(state: State, design: Design, world: World) -> Iterator[Move]:
    """Every step that is possible in this state, with its name."""
    for i, worker in enumerate(state.workers):
        if worker.pause:
            yield _resume(state, i)
            continue
        yield from _work(state, i, design, world)
        yield from _mishaps(state, i, design)
    for request in state.requests:
        yield from _deliver(state, request, world)
    yield from _environment(state, design, world)
    if world.reader:
        yield from _read_token(state, world)


def _put(state: State, i: int, worker: Worker) -> State:
    workers = (*state.workers[:i], worker, *state.workers[i + 1 :])
    return state._replace(workers=workers)


def _work(state: State, i: int, design: Design, world: World) -> Iterator[Move]:
    """The steps of the exchange itself, one committed statement or one network action at a time."""
    worker, name = state.workers[i], NAMES[i]
    match worker.step:
        case "idle":
            if not state.row.access_alive and state.row.reason is None:
                seen = Worker("seen", state.row.generation, state.row.serial, due=world.deadline - 1)
                yield f"{name} reads g{seen.generation}", _put(state, i, seen)
        case "seen":
            yield from _claim(state, i, design, world)
        case "untimed":
            timed = worker._replace(step="claimed", t0=0, due=world.deadline - 1)
            yield f"{name} reads its clock", _put(state, i, timed)
        case "claimed":
            yield _send(state, i, design, world)
        case "sent":
            yield from _receive(state, i, design, world)
        case "answered":
            yield from _settle(state, i, design)
        case "stopped" | "unknown" | "refused":
            yield _give_back(state, i, design, world)


def _claim(state: State, i: int, design: Design, world: World) -> Iterator[Move]:
    worker, name, row = state.workers[i], NAMES[i], state.row
    attempt = worker.attempt or f"a{row.lease_fence + 1}"
    asked = row if design.claim_refuses_failed else replace(row, reason=None)
    length = world.lease if design.guard == "lease" else NEVER
    claimed = claim(
        asked,
        now=0,
        attempt=attempt,
        seen=worker.generation,
        lease=length,
        patience=patience_of(design, world),
    )
    if claimed is None and design.waiter_waits:
        yield f"{name} finds it taken, waits", _put(state, i, Worker())
        return
    if claimed is None:
        nobodys = -2 if any(w.fence == -1 for w in state.workers) else -1
        careless = worker._replace(step="claimed", attempt=f"a{nobodys}", fence=nobodys, limit=2 * world.lease)
        yield f"{name} finds it taken, goes on anyway", _put(state, i, careless)
        return
    claimed = replace(claimed, reason=row.reason)
    if design.guard == "row_lock":  # nothing is written down before the call
        claimed = replace(claimed, inflight_generation=None, retake_after=None, uncertain=row.uncertain)
    holder = worker._replace(
        step="untimed" if design.clock_from == "after_claim" else "claimed",
        attempt=attempt,
        fence=claimed.lease_fence,
        limit=2 * world.lease,
    )
    yield f"{name} claims {attempt}", _put(state, i, holder)._replace(row=claimed)
    if state.left.reply:
        asks_again = _put(state, i, worker._replace(attempt=attempt))._replace(row=claimed)
        left = state.left._replace(reply=state.left.reply - 1)
        yield f"{name} claims {attempt}, confirmation lost", asks_again._replace(left=left)


def _send(state: State, i: int, design: Design, world: World) -> Move:
    worker, name = state.workers[i], NAMES[i]
    checks = design.checks_before_send and design.guard == "lease"
    if checks and worker.t0 + world.lease <= 0:
        return f"{name} overslept, does not send", _put(state, i, worker._replace(step="stopped", due=1))
    due = max(worker.t0 + world.deadline, 1)
    sent = _put(state, i, worker._replace(step="sent", due=due))
    request = Request(worker.fence, worker.serial, due)
    return f"{name} sends s{worker.serial}", sent._replace(requests=(*state.requests, request))


def _receive(state: State, i: int, design: Design, world: World) -> Iterator[Move]:
    worker, name = state.workers[i], NAMES[i]
    answer = worker.inbox
    if answer is not None:
        step: Step = "refused" if answer == REFUSED else "answered"
        got = worker._replace(step=step, serial=answer, inbox=None, due=world.settling)
        what = f"s{answer}" if answer > 0 else "invalid_grant" if answer == REJECTED else "429"
        yield f"{name} receives {what}", _put(state, i, got)
    on_its_way = any(r.fence == worker.fence and not r.held_up for r in state.requests)
    nothing_comes = answer is None and worker.due <= 0 and not on_its_way
    throws_away = answer is not None and worker.due < 0 and not design.takes_late_answer
    if nothing_comes or throws_away:
        gave_up = worker._replace(step="unknown", inbox=None, due=world.settling)
        yield f"{name} times out", _put(state, i, gave_up)


def _settle(state: State, i: int, design: Design) -> Iterator[Move]:
    worker, name, row = state.workers[i], NAMES[i], state.row
    if worker.serial == REJECTED:
        yield _settle_rejection(state, i)
        return
    written = _fenced_success(row, worker, design)
    if written is None and row.last_success_attempt == worker.attempt:
        yield f"{name} finds its settle done", _put(state, i, Worker())
    elif written is None:
        orphans = tuple(sorted({*state.orphans, worker.serial}))
        done = _put(state, i, Worker())._replace(orphans=orphans)
        yield f"{name} keeps s{worker.serial} as an orphan, alarm", done
    else:
        stored = (*state.stored[: written.generation], written.serial)
        after = state._replace(row=written, stored=stored)
        yield f"{name} settles s{worker.serial} as g{written.generation}", _put(after, i, Worker())
        if state.left.reply:
            after = after._replace(left=state.left._replace(reply=state.left.reply - 1))
            yield f"{name} settles s{worker.serial} as g{written.generation}, confirmation lost", after


def _fenced_success(row: Row, worker: Worker, design: Design) -> Row | None:
    mine = row.lease_fence == worker.fence
    lapsed = row.lease_expires_at is None or row.lease_expires_at <= 0
    if design.success_fence == "fence" and not mine:
        return None
    if design.success_fence == "live_lease" and (not mine or lapsed):
        return None
    based = replace(row, generation=worker.generation) if design.success_fence == "none" else row
    written = settle_success(
        based, attempt=worker.attempt, generation=worker.generation, fence=worker.fence, serial=worker.serial
    )
    if written is None or design.overtaken_success_stays_uncertain:
        return written
    return replace(written, uncertain=False)


def _settle_rejection(state: State, i: int) -> Move:
    worker, name = state.workers[i], NAMES[i]
    row = settle_failure(state.row, generation=worker.generation, fence=worker.fence, failure="rejected")
    if row is None:
        freed = release(state.row, fence=worker.fence)
        return f"{name} drops its late failure", _put(state, i, Worker())._replace(row=freed)
    return f"{name} settles failed, {row.reason}", _put(state, i, Worker())._replace(row=row)


def _give_back(state: State, i: int, design: Design, world: World) -> Move:
    worker, name = state.workers[i], NAMES[i]
    failure: Failure = "unknown" if worker.step == "unknown" else "not_sent"
    row = settle_failure(
        state.row,
        generation=worker.generation,
        fence=worker.fence,
        failure=failure,
        retake_at=0 if patience_of(design, world) == 0 else None,
    )
    told = "outcome unknown" if failure == "unknown" else "nothing happened"
    after = row or release(state.row, fence=worker.fence)
    return f"{name} gives the lease back, {told}", _put(state, i, Worker())._replace(row=after)


# --- what goes wrong -------------------------------------------------------------------------------------


def _mishaps(state: State, i: int, design: Design) -> Iterator[Move]:
    worker, name, left = state.workers[i], NAMES[i], state.left
    if worker.step == "idle":
        return
    if left.slow:
        paused = _put(state, i, worker._replace(pause="slow"))
        yield f"{name} stands still", paused._replace(left=left._replace(slow=left.slow - 1))
    if left.frozen:
        paused = _put(state, i, worker._replace(pause="frozen"))
        yield f"{name} freezes", paused._replace(left=left._replace(frozen=left.frozen - 1))
    if left.crash:
        row = state.row
        if design.guard == "row_lock" and row.lease_fence == worker.fence:
            row = replace(row, lease_holder=None, lease_expires_at=None)
        crashed = _put(state, i, Worker())._replace(
            row=row, left=left._replace(crash=left.crash - 1), crashed_at=worker.step
        )
        yield f"{name} crashes ({worker.step})", crashed


def _resume(state: State, i: int) -> Move:
    return f"{NAMES[i]} wakes up", _put(state, i, state.workers[i]._replace(pause=""))


def _deliver(state: State, request: Request, world: World) -> Iterator[Move]:
    left = state.left
    rest = state._replace(requests=tuple(r for r in state.requests if r is not request))
    provider, answer, label = present(state.provider, request.serial, world)
    done = rest._replace(provider=provider)
    yield label, _answer(done, request, answer)
    if left.refusal:
        refused = rest._replace(left=left._replace(refusal=left.refusal - 1))
        yield "provider answers 429", _answer(refused, request, REFUSED)
    if left.network:
        spent = left._replace(network=left.network - 1)
        yield f"network loses the request of s{request.serial}", rest._replace(left=spent)
        yield f"{label}, network loses the answer", done._replace(left=spent)
    if not request.held_up and (left.delay or left.late):
        limit = next((w.limit for w in state.workers if w.step == "sent" and w.fence == request.fence), 0)
        if left.delay and limit > 1:
            held = request._replace(due=limit - 1, held_up=True)
            yield _hold_up(rest, held, left._replace(delay=left.delay - 1))
        if left.late:
            held = request._replace(due=NEVER, held_up=True)
            yield _hold_up(rest, held, left._replace(late=left.late - 1))


def _hold_up(rest: State, request: Request, left: Faults) -> Move:
    held = rest._replace(requests=(*rest.requests, request), left=left)
    return f"network holds the request of s{request.serial} up", held


def _answer(state: State, request: Request, answer: int) -> State:
    for i, worker in enumerate(state.workers):
        if worker.step == "sent" and worker.fence == request.fence:
            return _put(state, i, worker._replace(inbox=answer))
    return state


def _environment(state: State, design: Design, world: World) -> Iterator[Move]:
    row = state.row
    if row.access_alive and row.generation < world.generations:
        yield (
            f"access token of g{row.generation} expires",
            state._replace(row=replace(row, access_alive=False)),
        )
    if design.guard == "row_lock" and state.left.cut and row.lease_holder:
        cut = replace(row, lease_holder=None, lease_expires_at=None)
        yield (
            "database session cut",
            state._replace(row=cut, left=state.left._replace(cut=state.left.cut - 1)),
        )
    if _time_may_pass(state, design, world):
        later = _tick(state, world)
        if later != state:
            yield "time", later


def _read_token(state: State, world: World) -> Iterator[Move]:
    reader, row = state.reader, state.row
    if world.reader == "two_statements" and not reader.looked_at:
        if row.generation != reader.generation:
            yield "reader looks up the row", state._replace(reader=reader._replace(looked_at=row.generation))
        return
    generation = reader.looked_at or row.generation
    if (generation, row.serial) == (reader.generation, reader.serial):
        return
    wrong = generation <= reader.generation or state.stored[generation] != row.serial
    seen = Reader(0, generation, row.serial, reader.wrong or wrong)
    yield f"reader gets s{row.serial} as g{generation}", state._replace(reader=seen)


# --- time ------------------------------------------------------------------------------------------------


def _time_may_pass(state: State, design: Design, world: World) -> bool:
    """Whoever is awake acts in time; the provider answers in time; only the faults may take longer."""
    if any(r.due <= 0 for r in state.requests):
        return False
    for worker in state.workers:
        if worker.step == "idle":
            continue
        if not worker.pause and worker.due <= 0:
            return False
        if worker.pause != "frozen" and worker.step not in BEFORE_SENDING and worker.limit <= 1:
            return False
    return not (world.prompt and _somebody_should_act(state, design, world))


def _somebody_should_act(state: State, design: Design, world: World) -> bool:
    if state.row.access_alive or all(w.step != "idle" for w in state.workers):
        return False
    row, patience = state.row, patience_of(design, world)
    return claim(row, now=0, attempt="", seen=row.generation, lease=1, patience=patience) is not None


def _tick(state: State, world: World) -> State:
    lease, retake = state.row.lease_expires_at, state.row.retake_after
    return state._replace(
        row=replace(
            state.row,
            lease_expires_at=None if lease is None else _older(lease),
            retake_after=None if retake is None else _older(retake),
        ),
        workers=tuple(_age(w, world) for w in state.workers),
        requests=tuple(r._replace(due=_older(r.due)) for r in state.requests),
        provider=state.provider._replace(grace=tuple((s, max(t - 1, 0)) for s, t in state.provider.grace)),
    )


def _older(moment: int) -> int:
    return moment if moment == NEVER else max(moment - 1, 0)


def _age(worker: Worker, world: World) -> Worker:
    if worker.step == "idle":
        return worker
    return worker._replace(
        t0=max(worker.t0 - 1, -world.lease), due=max(worker.due - 1, -1), limit=max(worker.limit - 1, 0)
    )
