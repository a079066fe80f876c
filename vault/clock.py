"""The clock that deadlines are counted on."""

import time

# Linux's monotonic clock stands still while the machine is suspended; a lease does not.
_SOURCE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Return seconds from some fixed moment, suspends included; never set back."""
    return time.clock_gettime(_SOURCE)
