"""Conditions under which a change is carried out: whoever edits what somebody else edited meanwhile finds out.

A *version* stands for all that people edit of one thing. What the machine writes (refreshes, health,
kill switches) is not in it, so that an edit fails only over another edit.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from vault.errors import PreconditionFailed


@dataclass(frozen=True)
class Condition:
    """`If-Match` and `If-None-Match: *` of one request (RFC 9110, 13.1)."""

    versions: frozenset[str] | None = None  # one of them has to be the stored one; None: whatever it is
    exists: bool | None = None  # whether there has to be anything; None: either way

    def check(self, version: str | None) -> None:
        """Raise PreconditionFailed where the stored *version*, None where nothing is, does not meet it."""
        wrong = self.versions is not None and version not in self.versions
        if wrong or (self.exists is not None and self.exists != (version is not None)):
            raise PreconditionFailed


UNCONDITIONAL = Condition()


def version_of(edited: dict[str, Any]) -> str:
    """Return the version of what was *edited*, which goes into JSON."""
    text = json.dumps(edited, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
