"""What a use case can answer other than success. None of them knows HTTP; `http/problems.py` does."""

from collections.abc import Mapping
from typing import Any


class VaultError(Exception):
    """*code* is stable and machine-readable; *detail* is one fixed sentence of ours, never a provider's.

    *members* are further facts for the answer (RFC 9457 extension members).
    """

    code: str = "error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        **members: Any,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.members = members
        super().__init__(self.code)


class Unauthenticated(VaultError):
    """The API key is missing, malformed, unknown, expired or revoked."""

    code = "unauthenticated"


class InsufficientScope(VaultError):
    """The API key lacks the scope of this call."""

    code = "insufficient_scope"


class NotFound(VaultError):
    """There is nothing here that this API key may see."""

    code = "not_found"


class Invalid(VaultError):
    """The request is well-formed and cannot be carried out as it stands."""

    code = "invalid"


class Conflict(VaultError):
    """The request contradicts what is stored."""

    code = "conflict"


class PreconditionFailed(VaultError):
    """What is stored is not what the condition of this request says; nothing was changed."""

    code = "precondition_failed"


class Gone(VaultError):
    """The link was used, has expired, or belongs to another browser."""

    code = "gone"


class Unavailable(VaultError):
    """It cannot be done now and may be done later."""

    code = "unavailable"


class TooManyRequests(VaultError):
    """This API key asks more often than it may."""

    code = "rate_limited"


class StorageUnavailable(Unavailable):
    """The database does not take this now."""

    code = "storage_unavailable"

    def __init__(self, *, contended: bool = False) -> None:
        super().__init__(retry_after=2)
        # Two transactions stood in each other's way: the same statements alone will do.
        self.contended = contended


def does_not_open(source: Mapping[str, str] | None = None) -> Conflict:
    """Return what is told where a stored value is wanted that does not open, of *source* where that is told."""
    return Conflict("A stored value does not open.", code="operator_required", source=source)


class CannotOpen(Exception):
    """A sealed value does not open: wrong place, unknown key, altered, cut or of another format."""
