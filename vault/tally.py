"""Counters and histograms that cost next to nothing to tell, and are put into Prometheus' words when asked for.

`prometheus_client`'s own take a lock each time, for threads that we do not have: everything here is
told, and asked for, on the event loop.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

Labels = tuple[str | int, ...]


class Tally(Collector):
    """A number for each combination of labels, that only rises."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self._family = name, about, None, labels
        self._counts: defaultdict[Labels, int] = defaultdict(int)
        if not labels:
            self.add((), 0)  # told from the first moment on

    def add(self, labels: Labels = (), count: int = 1) -> None:
        self._counts[labels] += count

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._family)
        for labels, count in self._counts.items():
            family.add_metric([str(label) for label in labels], count)
        yield family


class Durations(Collector):
    """How many seconds things took, in *buckets* by upper bound; without buckets, their count and sum."""

    def __init__(self, name: str, about: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()) -> None:
        self._family = name, about
        self._labels = labels
        self._buckets = buckets
        self._counts: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(buckets) + 1))
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, seconds: float, labels: Labels = ()) -> None:
        self._counts[labels][bisect_left(self._buckets, seconds)] += 1
        self._sums[labels] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily | SummaryMetricFamily]:
        yield self._as_histogram() if self._buckets else self._as_summary()

    def _as_histogram(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(*self._family, labels=self._labels)
        bounds = [*map(repr, map(float, self._buckets)), "+Inf"]
        for labels, counts in self._counts.items():
            reached = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([str(label) for label in labels], reached, self._sums[labels])
        return family

    def _as_summary(self) -> SummaryMetricFamily:
        family = SummaryMetricFamily(*self._family, labels=self._labels)
        for labels, (count,) in self._counts.items():
            family.add_metric([str(label) for label in labels], count, self._sums[labels])
        return family
