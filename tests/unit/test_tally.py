"""Counting without locks, told in Prometheus' words."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from vault.tally import Durations, Tally


def told(metric: Collector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(metric)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("# HELP")]


def test_a_tally_counts_by_labels() -> None:
    """Each combination of labels has a number of its own; words that need it are escaped."""
    tally = Tally("seen", "Things seen", ["kind", "status"])
    tally.add(("a", 200))
    tally.add(("a", 200), 2)
    tally.add(('b"', 404))

    assert told(tally) == [
        "# TYPE seen_total counter",
        'seen_total{kind="a",status="200"} 3.0',
        'seen_total{kind="b\\"",status="404"} 1.0',
    ]


def test_a_tally_without_labels_is_there_from_the_start() -> None:
    """What never happened is 0, so that a rate can be taken of it."""
    assert told(Tally("seen", "Things seen")) == ["# TYPE seen_total counter", "seen_total 0.0"]


def test_durations_are_counted_up_to_each_bound() -> None:
    """Buckets are cumulative, a bound belongs to its own bucket, and sum and count are of everything."""
    durations = Durations("took_seconds", "Time taken", ["kind"], buckets=(0.1, 1))
    for seconds in (0.05, 0.1, 0.5, 1, 3):
        durations.add(seconds, ("a",))

    assert told(durations) == [
        "# TYPE took_seconds histogram",
        'took_seconds_bucket{kind="a",le="0.1"} 2.0',
        'took_seconds_bucket{kind="a",le="1.0"} 4.0',
        'took_seconds_bucket{kind="a",le="+Inf"} 5.0',
        'took_seconds_count{kind="a"} 5.0',
        'took_seconds_sum{kind="a"} 4.65',
    ]


def test_durations_without_buckets_are_a_count_and_a_sum() -> None:
    """Where nobody asks how they are spread."""
    durations = Durations("waited_seconds", "Time waited")
    durations.add(0.5)
    durations.add(1.5)

    assert told(durations) == [
        "# TYPE waited_seconds summary",
        "waited_seconds_count 2.0",
        "waited_seconds_sum 2.0",
    ]
