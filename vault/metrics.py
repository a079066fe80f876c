"""What this process counts, told in our own words: whoever tells it knows nothing of Prometheus.

Names follow Prometheus' conventions: base units, units in names, `_total` for what only rises. Every
label has a closed set of values: providers are those that somebody defined, routes are templates. No
label names a tenant, a connection or a caller.
"""

from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector

from vault.tally import Durations, Tally

Outcome = Literal[
    "success",
    "grant_rejected",
    "client_rejected",
    "rate_limited",
    "transient",
    "outcome_unknown",
    "bug",
    "undecryptable",
    "expired",
    "superseded",
    "orphaned",
]  # of a refresh
Source = Literal["memory", "database", "refreshed"]  # of a token that was handed out

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OF_REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
_OF_REFRESHES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_OF_COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

M = TypeVar("M", Tally, Durations)


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
        self._requests.add((route, method, status))
        self._request_seconds.add(seconds, (route, method))

    def handed_out(self, provider: str, source: Source) -> None:
        """Count a token that a caller got, and whether anything had to be read or refreshed for it."""
        self._tokens.add((provider, source))

    def waited(self, provider: str, seconds: float) -> None:
        """Count a reader that waited for somebody else's refresh."""
        self._waits.add(seconds, (provider,))

    def refreshed(self, provider: str, outcome: Outcome, seconds: float) -> None:
        """Count a refresh that was settled, *seconds* after its claim began."""
        self._refreshes.add((provider, outcome))
        self._refresh_seconds.add(seconds, (provider,))

    def committed(self, records: int, seconds: float) -> None:
        """Count a transaction of the writer, and the audit *records* in it."""
        self._records.add((), records)
        self._commit_seconds.add(seconds)

    def _of_requests(self) -> None:
        labels = ["route", "method", "status"]
        self._requests = self._kept(Tally("tokenvault_http_requests", "HTTP requests answered", labels))
        about = "Time from an HTTP request's headers to the end of its answer"
        name = "tokenvault_http_request_duration_seconds"
        self._request_seconds = self._kept(Durations(name, about, labels[:2], _OF_REQUESTS))

    def _of_tokens(self) -> None:
        about = "Tokens handed out, and what they came from"
        self._tokens = self._kept(Tally("tokenvault_tokens_handed_out", about, ["provider", "source"]))
        about = "Time that readers waited for a refresh that somebody else had begun"
        self._waits = self._kept(Durations("tokenvault_refresh_wait_seconds", about, ["provider"]))

    def _of_refreshes(self) -> None:
        about = "Refreshes that were settled, by what became of them"
        self._refreshes = self._kept(Tally("tokenvault_refreshes", about, ["provider", "outcome"]))
        about, name = "Time from a refresh's claim to its settling", "tokenvault_refresh_duration_seconds"
        self._refresh_seconds = self._kept(Durations(name, about, ["provider"], _OF_REFRESHES))

    def _of_the_writer(self) -> None:
        self._records = self._kept(Tally("tokenvault_audit_records", "Audit records written"))
        about = "Time that one transaction of the writer took, with all that it carried"
        name = "tokenvault_commit_duration_seconds"
        self._commit_seconds = self._kept(Durations(name, about, buckets=_OF_COMMITS))

    def _kept(self, metric: M) -> M:
        self.registry.register(metric)
        return metric
