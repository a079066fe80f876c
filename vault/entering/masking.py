"""What may be seen of entered credentials: enough to recognise them by, and no more."""

import re
from collections.abc import Mapping

from integrations.contract import Kind, Secret

SHOWN = 4  # characters of a secret, its last
LONG_ENOUGH = 16  # of a secret to show any: what is shorter may be guessed from its end
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
MASK = "••••"  # always as many, whatever is behind it


def masked(kind: Kind, fields: Mapping[str, Secret]) -> dict[str, str]:
    """Return *fields* as people may see them: what is no secret whole, of the rest its end at most."""
    secret = {field.name: field.secret for field in kind.fields}
    return {
        name: _masked(value.reveal()) if secret[name] else value.reveal()
        for name, value in fields.items()
        if name in secret
    }


def _masked(value: str) -> str:
    # Of a key file, or a sentence, the end says nothing or too much.
    shows = len(value) >= LONG_ENOUGH and _PLAIN.fullmatch(value) is not None
    return MASK + (value[-SHOWN:] if shows else "")
