"""One line a request, and one count: who asked for what, how it ended, how long it took, never what was sent."""

import asyncio
import logging
import time

from msgspec import UNSET, Struct, UnsetType

from vault.metrics import Metrics

log = logging.getLogger("vault.access_log")
LONGEST_HOLD = 0.1  # seconds that a line waits for others
MOST_HELD = 500  # lines


class Line(Struct, frozen=True):
    """What is written of a request: ids and names, none of which opens anything."""

    method: str
    route: str  # a template
    status: int  # 0 without an answer
    ms: float
    request_id: str
    caller: str | UnsetType = UNSET
    connection: str | UnsetType = UNSET


class RequestLog:
    """Lines that come close together are one record of `logging`: making a record costs more than a line."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._held: list[tuple[float, Line]] = []

    def note(self, line: Line) -> None:
        """Count a request, and write its line soon."""
        self._metrics.answered(line.route, line.method, line.status, line.ms / 1000)
        if not log.isEnabledFor(logging.INFO):
            return
        self._held.append((time.time(), line))
        if len(self._held) == 1:
            asyncio.get_running_loop().call_later(LONGEST_HOLD, self.flush)
        elif len(self._held) >= MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Hand what is held to `logging`."""
        lines, self._held = self._held, []
        if lines:
            log.info("request", extra={"lines": lines})
