"""What the benchmarks make of their measurements, and of the load generator's words."""

import os
import time

import pytest

from benchmarks.figures import Goal, Section, Spread, goals_table, number, percentile, slope, table
from benchmarks.load import BadLoad, read_wrk
from benchmarks.machine import Usage

WRK = """Running 4s test @ http://127.0.0.1:18000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    15.43ms    7.49ms 159.20ms   94.25%
    Req/Sec     4.27k   410.46     4.81k    85.00%
  Latency Distribution
     50%   14.20ms
     75%   15.32ms
     90%  980.00us
     99%    1.05s
  17036 requests in 4.01s, 2.37MB read
{}Requests/sec:   4252.37
Transfer/sec:    606.30KB
"""


def test_wrk_is_understood() -> None:
    """Requests, rate and percentiles are read, whatever unit each latency comes in."""
    loaded = read_wrk(WRK.format(""))

    assert (loaded.requests, loaded.rate, loaded.p50, loaded.p99) == (17036, 4252.37, 14.2, 1050.0)


@pytest.mark.parametrize(
    "complaint",
    ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 2, write 0, timeout 0\n"],
)
def test_refusals_are_no_load(complaint: str) -> None:
    """A load of which anything was refused or broken off is no measurement."""
    with pytest.raises(BadLoad, match=complaint.strip()):
        read_wrk(WRK.format(complaint))


def test_what_is_not_of_wrk_is_refused() -> None:
    """Words that are not understood are never taken for figures."""
    for printed in ("", WRK.format("").replace("99%", "98%")):
        with pytest.raises(BadLoad):
            read_wrk(printed)


def test_rounds_become_a_median_and_its_spread() -> None:
    """Of several rounds the middle one counts, and the outermost are told."""
    assert str(Spread.of([4252.4, 5121, 3900])) == "4,252 (3,900-5,121)"


def test_percentiles_are_values_that_were_seen() -> None:
    """The nearest rank is returned, of one value that one."""
    assert [percentile(range(1, 101), part) for part in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7.0


def test_growth_is_a_slope() -> None:
    """Growth is told from noise by all points, not by the last."""
    assert slope([(0, 100.1), (1000, 102.0), (2000, 103.9)]) == pytest.approx(0.0019)


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0, "0"), (12345.6, "12,346"), (98.24, "98.2"), (0.0456, "0.0456"), (float("nan"), "nan")],
)
def test_numbers_have_three_digits_that_count(value: float, printed: str) -> None:
    """No figure pretends to more than it knows."""
    assert number(value) == printed


def test_goals_say_whether_they_are_met() -> None:
    """A goal is met at its limit, and a missed one stands out."""
    section = Section(
        "t", ("a",), [("1",)], [Goal("more", 0.8, 0.8, at_least=True), Goal("less", 2.1, 2.0, unit=" s")]
    )

    assert str(section) == "## t\n\n| a |\n| --- |\n| 1 |\n"
    assert goals_table([section]) == table(
        ("figure", "measured", "limit", "met"),
        [("more", "0.800", "≥ 0.800", "yes"), ("less", "2.10 s", "≤ 2.00 s", "**no**")],
    )


def test_what_a_process_costs_is_read() -> None:
    """CPU seconds and memory of a process are those that it tells of itself."""
    before, until = Usage.of(os.getpid()), time.process_time() + 0.1
    while time.process_time() < until:
        sum(range(10_000))  # in user mode, which asking for the time is not
    after = Usage.of(os.getpid())

    assert 0.05 < after.cpu - before.cpu < 0.5
    assert 5 < after.rss < 5000
