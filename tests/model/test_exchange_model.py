"""The refresh exchange holds under every interleaving of the model, and each of its protections is needed.

`pytest tests/model -s` prints the counts, and the shortest way to what each ablation breaks.
"""

import sys

import pytest

from .exchange import Design, Faults, ProviderKind, World, patience_of
from .explore import Report, explore

RECOMMENDED = Design()
GRACE_THAT_COVERS_A_RETAKE = 2 * World.lease + World.deadline


def visit(name: str, design: Design, world: World, *show: str) -> Report:
    report = explore(design, world)
    told = "".join(f"\n    {report.tell(kind)}" for kind in show)
    sys.stdout.write(f"\n{name}: {report}{told}\n")
    assert report.generation == world.generations  # otherwise an empty search would prove everything
    return report


def graceful(kind: ProviderKind, grace: int, faults: Faults) -> World:
    return World(provider=kind, grace=grace, faults=faults, generations=2, prompt=True)


# --- what we build ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_recommended_design_is_safe_under_slow_holders(slow: int) -> None:
    """Neither a reuse nor a loss nor an orphan, however the steps of two workers and slow holders mix."""
    report = visit(f"recommended, {slow} slow", RECOMMENDED, World(faults=Faults(slow=slow)))
    assert not report.found


@pytest.mark.parametrize(
    "faults",
    [Faults(slow=1, reply=1), Faults(slow=1, refusal=1)],
    ids=["confirmation lost", "definite refusal"],
)
def test_small_mishaps_do_no_harm(faults: Faults) -> None:
    """A lost confirmation or a 429 beside a slow holder costs at most a needless orphan alarm."""
    report = visit("recommended, small mishaps", RECOMMENDED, World(faults=faults), "orphan")
    assert set(report.found) <= {"orphan"}


# --- every protection is needed --------------------------------------------------------------------------

ABLATIONS = {
    "row lock, session cut": (Design(guard="row_lock"), World(faults=Faults(cut=1)), "reuse"),
    "goes on without the lease": (Design(waiter_waits=False), World(), "reuse"),
    "taker-over does not wait": (Design(waits=False), World(faults=Faults(slow=1)), "reuse"),
    "no check before sending": (Design(checks_before_send=False), World(faults=Faults(slow=1)), "reuse"),
    "own clock read after the claim": (
        Design(clock_from="after_claim"),
        World(faults=Faults(slow=1)),
        "reuse",
    ),
    "deadline drops an answer that is there": (
        Design(takes_late_answer=False),
        World(faults=Faults(slow=1)),
        "lost",
    ),
    "success fenced by a live lease": (
        Design(success_fence="live_lease"),
        World(faults=Faults(slow=1)),
        "lost",
    ),
    "success fenced by the lease's fence": (
        Design(success_fence="fence"),
        World(faults=Faults(frozen=1, refusal=1), generations=2),
        "good orphan",
    ),
    "success fenced by the lease's fence, nothing is revoked": (
        Design(success_fence="fence"),
        World(provider="one_time", faults=Faults(frozen=1), generations=2),
        "good orphan",
    ),
    "success not fenced": (
        Design(success_fence="none"),
        World(provider="never", faults=Faults(slow=1), reader="one_statement"),
        "misread",
    ),
    "claim does not look at the status": (
        Design(claim_refuses_failed=False),
        World(faults=Faults(crash=1)),
        "reuse twice",
    ),
    "every success clears `uncertain`": (
        Design(overtaken_success_stays_uncertain=False),
        World(faults=Faults(frozen=1)),
        "silent",
    ),
    "a grace interval just longer than the lease is trusted": (
        Design(trusts_any_grace=True),
        graceful("grace", World.lease + World.deadline, Faults(crash=1)),
        "lost",
    ),
    "a grace interval is trusted where only the last successor lives": (
        Design(trusts_any_grace=True),
        graceful("latest", GRACE_THAT_COVERS_A_RETAKE, Faults(slow=1)),
        "silent",
    ),
    "reader takes two statements": (RECOMMENDED, World(reader="two_statements"), "misread"),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_breaks(name: str) -> None:
    """With one protection taken away the explorer finds the harm that it was there to prevent."""
    design, world, kind = ABLATIONS[name]
    report = visit(name, design, world, kind)
    assert report.found[kind] > 0


@pytest.mark.parametrize("name", [name for name, (design, *_) in ABLATIONS.items() if design != RECOMMENDED])
def test_the_design_withstands_what_broke_the_ablation(name: str) -> None:
    """In the very world in which an ablation breaks, the recommended design does not break that way."""
    _, world, kind = ABLATIONS[name]
    if name == "a grace interval just longer than the lease is trusted":
        kind = "silent"  # a crash there loses the token in any case: the grace has run out
    report = visit(f"recommended, where not: {name}", RECOMMENDED, world)
    assert report.found[kind] == 0


def test_row_lock_is_safe_only_while_its_session_lives() -> None:
    """Without a cut session a row lock does well, which is why it looks right."""
    report = visit("row lock, 1 slow", Design(guard="row_lock"), World(faults=Faults(slow=1)))
    assert not report.found


def test_a_counterexample_reads_as_a_story() -> None:
    """The shortest trace names the steps in their order."""
    design, world, kind = ABLATIONS["row lock, session cut"]
    assert explore(design, world).traces[kind] == [
        "A reads g1",
        "A claims a1",
        "A sends s1",
        "B reads g1",
        "provider rotates s1 to s2",
        "database session cut",
        "B claims a2",
        "B sends s1",
        "provider sees s1 AGAIN, revokes the family",
    ]


# --- crashes, and outcomes nobody knows ------------------------------------------------------------------


@pytest.mark.parametrize("slow", [0, 1])
def test_crash_harms_only_between_sending_and_settling(slow: int) -> None:
    """One crash anywhere costs at most one reuse, only inside that window, and never unnoticed."""
    world = World(faults=Faults(crash=1, slow=slow), generations=3 - slow)
    report = visit(f"recommended, 1 crash, {slow} slow", RECOMMENDED, world, "reuse", "lost")
    assert report.harmful_crashes == {"sent", "answered"}
    assert set(report.found) == {"reuse", "lost"}
    assert report.retaken > 0


@pytest.mark.parametrize(
    "faults",
    [Faults(crash=2), Faults(crash=1, reply=1), Faults(crash=1, refusal=1), Faults(crash=1, network=1)],
    ids=["two crashes", "confirmation lost", "definite refusal", "answer lost"],
)
def test_crash_with_company_is_never_silent(faults: Faults) -> None:
    """A lost token ends as `uncertain` or `lost_rotation`, and a good one is never given up."""
    report = visit("recommended, crash with company", RECOMMENDED, World(faults=faults), "reuse twice")
    assert set(report.found) <= {"reuse", "reuse twice", "lost", "orphan"}


@pytest.mark.parametrize("faults", [Faults(network=1, slow=1), Faults(delay=1, slow=1)], ids=["lost", "late"])
def test_unknown_outcome_is_never_silent(faults: Faults) -> None:
    """A lost answer or a request held up costs at most one reuse, and the row knows."""
    world = World(faults=faults, generations=2)
    report = visit("recommended, unknown outcome", RECOMMENDED, world, "reuse")
    assert set(report.found) == {"reuse", "lost"}


def test_sleeping_through_the_patience_is_never_silent() -> None:
    """A holder that sleeps after sending, longer than any patience, is no safer than a crash, but noticed."""
    report = visit("recommended, 1 frozen", RECOMMENDED, World(faults=Faults(frozen=1)), "reuse", "lost")
    assert set(report.found) == {"reuse", "lost"}


@pytest.mark.parametrize("faults", [Faults(frozen=1), Faults(frozen=1, refusal=1), Faults(slow=1)])
def test_late_success_heals_and_late_failure_does_not_harm(faults: Faults) -> None:
    """Where reuse revokes nothing, an overslept holder's token is stored and stands, whoever failed since."""
    report = visit(f"one-time, {faults}", RECOMMENDED, World(provider="one_time", faults=faults, generations=2))
    assert set(report.found) <= {"reuse"}


def test_lost_confirmation_is_recognised() -> None:
    """A settle whose confirmation was lost finds itself by its attempt id, and raises no alarm."""
    report = visit("confirmation lost", RECOMMENDED, World(faults=Faults(reply=1, slow=1), generations=2))
    assert not report.found


def test_what_stays_impossible() -> None:
    """A request that arrives after the retake succeeded revokes the new family, and nobody here can know."""
    report = visit("recommended, 1 request too late", RECOMMENDED, World(faults=Faults(late=1)), "silent")
    assert report.found["silent"] > 0


# --- kinder providers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [Faults(crash=1), Faults(network=1), Faults(slow=2), Faults(frozen=1)])
@pytest.mark.parametrize("kind", ["grace", "sibling"])
def test_grace_that_covers_a_retake_loses_nothing(kind: ProviderKind, faults: Faults) -> None:
    """With two leases and a deadline of grace, and a prompt retake, nothing is reused or lost."""
    world = graceful(kind, GRACE_THAT_COVERS_A_RETAKE, faults)
    assert patience_of(RECOMMENDED, world) == 0
    report = visit(f"{kind}, {faults}", RECOMMENDED, world)
    assert set(report.found) <= {"orphan"}


@pytest.mark.parametrize("grace", [1, World.lease + 1, GRACE_THAT_COVERS_A_RETAKE - 1])
def test_grace_that_is_too_short_is_treated_as_none(grace: int) -> None:
    """A shorter grace gets the patience of a strict provider, and slow holders do no harm."""
    report = visit(f"grace {grace}", RECOMMENDED, graceful("grace", grace, Faults(slow=2)))
    assert not report.found


def test_grace_missed_by_a_late_retake_is_never_silent() -> None:
    """When everybody was away until the grace had run out, the row knows that its token may be lost."""
    world = World(provider="grace", grace=GRACE_THAT_COVERS_A_RETAKE, faults=Faults(crash=1), generations=2)
    report = visit("grace, missed", RECOMMENDED, world, "lost")
    assert set(report.found) == {"reuse", "lost"}


@pytest.mark.parametrize("faults", [Faults(crash=1, slow=1), Faults(frozen=1), Faults(network=1), Faults(slow=2)])
def test_provider_that_never_rotates_loses_nothing(faults: Faults) -> None:
    """Where the refresh token stays, neither crash nor sleep nor network costs it, without any waiting."""
    world = World(provider="never", faults=faults, generations=2)
    assert patience_of(RECOMMENDED, world) == 0
    report = visit(f"never, {faults}", RECOMMENDED, world)
    assert set(report.found) <= {"orphan"}


# --- the reader ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [Faults(slow=1), Faults(crash=1), Faults(frozen=1)])
def test_reader_sees_rising_generations_of_stored_tokens(faults: Faults) -> None:
    """A reader of one statement never goes back, and never gets a token under another one's generation."""
    report = visit("reader", RECOMMENDED, World(faults=faults, reader="one_statement"))
    assert report.found["misread"] == 0


# --- the frame -------------------------------------------------------------------------------------------


def test_lease_must_outlast_the_exchange() -> None:
    """A world in which the lease does not cover deadline and settling is refused, as the settings are."""
    with pytest.raises(ValueError, match="outlast"):
        World(lease=3, deadline=2, settling=1)
