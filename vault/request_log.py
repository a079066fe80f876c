"""One line a request, and one count: who asked for what, how it ended, how long it took, never what was sent."""

import asyncio
import logging
import time

from vault.metrics import Metrics

log = logging.getLogger("vault.access_log")
LONGEST_HOLD = 0.1  # seconds that a line waits for others
MOST_HELD = 500  # lines


class RequestLog:
    """Lines that come close together are one record of `logging`: making a record costs more than a line."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._held: list[dict[str, object]] = []

    def note(self, route: str, method: str, status: int, seconds: float, ids: dict[str, str]) -> None:
        """Count a request, and write its line soon. *route* is a template; *status* is 0 without an answer."""
        self._metrics.answered(route, method, status, seconds)
        if not log.isEnabledFor(logging.INFO):
            return
        facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        self._held.append({"at": time.time(), **facts, **ids})
        if len(self._held) == 1:
            asyncio.get_running_loop().call_later(LONGEST_HOLD, self.flush)
        elif len(self._held) >= MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Hand what is held to `logging`."""
        lines, self._held = self._held, []
        if lines:
            log.info("request", extra={"lines": lines})
