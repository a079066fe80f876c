"""The clock that deadlines are counted on, and the calendar's end."""

import time
from datetime import UTC, datetime

from vault.errors import Invalid

# Linux's monotonic clock stands still while the machine is suspended; a lease does not.
_SOURCE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def uptime() -> float:
    """Return seconds from some fixed moment, suspends included; never set back."""
    return time.clock_gettime(_SOURCE)


def storable(moment: datetime | None, field: str) -> datetime | None:
    """Return *moment*. Raises Invalid for one so late that reckoning with it leaves the calendar."""
    if moment is not None and moment >= _LATEST:
        raise Invalid("This moment is too far ahead.", code="invalid_moment", field=field)
    return moment
