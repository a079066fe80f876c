"""Which connection serves a path: its own, or the nearest that is shared above it.

The *way* of a path is its own place, then the places of the same provider and name at its tenant's
parent, and so on up. It ends at a tenant that does not inherit: nothing from above passes through there,
neither to it nor to those below it.

Its own connection serves it if it offers its own credentials, even if they have failed: it is never
silently replaced. If it is switched off, nothing serves the path. Above, a connection serves if it is
shared, switched on, and offers its own credentials, even if they have failed. Any other is passed by, as
if it were not there: who stops sharing, or switches off, or puts aside, offers nothing to those below.
"""

from collections.abc import Sequence

from vault.connection import Connection


def served_by(way: Sequence[Connection | None]) -> int | None:
    """Return the number of the place on the *way* (0: the path's own) that decides; None where nothing does.

    That it decides says nothing of its health, nor whether its own kill switch is on.
    """
    own = way[0] if way else None
    if own is not None and (not own.enabled or own.offers_its_own):
        return 0
    for number, above in enumerate(way[1:], start=1):
        if above is not None and above.shared and above.enabled and above.offers_its_own:
            return number
    return None
