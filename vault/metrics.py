"""What this process counts, told in our own words: whoever tells it knows nothing of Prometheus.

Names follow Prometheus' conventions: base units, units in names, `_total` for what only rises. Every
label has a closed set of values: providers are those that somebody defined, routes are templates. No
label names a tenant, a connection or a caller.
"""

from typing import Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when it began

Outcome = Literal[
    "success",
    "grant_rejected",
    "client_rejected",
    "rate_limited",
    "transient",
    "outcome_unknown",
    "bug",
    "undecryptable",
    "superseded",
    "orphaned",
]  # of a refresh
Source = Literal["memory", "database", "refreshed"]  # of a token that was handed out

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OF_REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
_OF_REFRESHES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_OF_COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

M = TypeVar("M", Counter, Histogram, Summary)
Labels = tuple[str | int, ...]


class _Kept(dict[Labels, M]):
    """The children of a metric, each looked up once: `labels()` costs more than all the counting."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric: M = metric

    def __missing__(self, labels: Labels) -> M:
        child: M = self._metric.labels(*labels)
        self[labels] = child
        return child


class Metrics:
    """The counters and histograms of one built vault, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._of_requests()
        self._of_tokens()
        self._of_refreshes()
        self._of_the_writer()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an HTTP request. *route* is a template; *status* 0 where no answer was begun."""
        method = method if method in _METHODS else "other"
        self._requests[route, method, status].inc()
        self._request_seconds[route, method].observe(seconds)

    def handed_out(self, provider: str, source: Source) -> None:
        """Count a token that a caller got, and whether anything had to be read or refreshed for it."""
        self._tokens[provider, source].inc()

    def waited(self, provider: str, seconds: float) -> None:
        """Count a reader that waited for somebody else's refresh."""
        self._waits[(provider,)].observe(seconds)

    def refreshed(self, provider: str, outcome: Outcome, seconds: float) -> None:
        """Count a refresh that was settled, *seconds* after its claim began."""
        self._refreshes[provider, outcome].inc()
        self._refresh_seconds[(provider,)].observe(seconds)

    def committed(self, records: int, seconds: float) -> None:
        """Count a transaction of the writer, and the audit *records* in it."""
        self._records.inc(records)
        self._commit_seconds.observe(seconds)

    def _of_requests(self) -> None:
        labels = ["route", "method", "status"]
        self._requests = _Kept(self._counter("http_requests", "HTTP requests answered", labels))
        self._request_seconds = _Kept(
            Histogram(
                "tokenvault_http_request_duration_seconds",
                "Time from an HTTP request's headers to the end of its answer",
                labels[:2],
                buckets=_OF_REQUESTS,
                registry=self.registry,
            )
        )

    def _of_tokens(self) -> None:
        about = "Tokens handed out, and what they came from"
        self._tokens = _Kept(self._counter("tokens_handed_out", about, ["provider", "source"]))
        self._waits = _Kept(
            Summary(
                "tokenvault_refresh_wait_seconds",
                "Time that readers waited for a refresh that somebody else had begun",
                ["provider"],
                registry=self.registry,
            )
        )

    def _of_refreshes(self) -> None:
        about = "Refreshes that were settled, by what became of them"
        self._refreshes = _Kept(self._counter("refreshes", about, ["provider", "outcome"]))
        self._refresh_seconds = _Kept(
            Histogram(
                "tokenvault_refresh_duration_seconds",
                "Time from a refresh's claim to its settling",
                ["provider"],
                buckets=_OF_REFRESHES,
                registry=self.registry,
            )
        )

    def _of_the_writer(self) -> None:
        self._records = self._counter("audit_records", "Audit records written", [])
        self._commit_seconds = Histogram(
            "tokenvault_commit_duration_seconds",
            "Time that one transaction of the writer took, with all that it carried",
            buckets=_OF_COMMITS,
            registry=self.registry,
        )

    def _counter(self, name: str, about: str, labels: list[str]) -> Counter:
        return Counter(f"tokenvault_{name}", about, labels, registry=self.registry)
