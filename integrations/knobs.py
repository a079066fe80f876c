"""Where a provider departs from the standards, as data: a Definition has a field for each of these groups."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

from integrations.contract import ProviderError, Verdict
from integrations.verdicts import CLASSES, OAUTH_ERRORS

Word = Annotated[str, Meta(min_length=1, max_length=256)]
# Printable ASCII, which is all that a header takes.
HeaderName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$(?!\n)")]
HeaderValue = Annotated[str, Meta(max_length=1024, pattern=r"^[\x20-\x7e]*$(?!\n)")]
# `data.token` is the member `token` of the object `data`.
Path = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^.]+(\.[^.]+)*$(?!\n)")]
Status = Annotated[int, Meta(ge=100, le=599)]
ErrorClass = Literal["grant_rejected", "client_rejected", "rate_limited", "transient", "bug"]


class TokenFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a token answer has what, as paths (RFC 6749 section 5.1 by default).

    `expires_as` says what stands at `expires_in`: the `seconds` that it lives; when it ends, in Unix time
    (`unix`, or `unix_ms` in milliseconds); or `iso_8601`, a date with its offset. A value of `never` means that
    it does not end, which counts as a year. `refresh_token_expires_in` is in seconds (no standard has it; the
    other usual name, `refresh_expires_in`, is understood too).
    """

    access_token: Path = "access_token"  # noqa: S105 - where it is
    refresh_token: Path = "refresh_token"  # noqa: S105
    token_type: Path = "token_type"  # noqa: S105
    scope: Path = "scope"
    id_token: Path = "id_token"  # noqa: S105
    expires_in: Path = "expires_in"
    refresh_token_expires_in: Path = "refresh_token_expires_in"  # noqa: S105
    expires_as: Literal["seconds", "unix", "unix_ms", "iso_8601"] = "seconds"
    never: tuple[int | Word, ...] = ()


class Errors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How this provider says no, besides RFC 6749 section 5.2.

    `codes` are the paths at which a refusal may have a code, the most telling first, and `classes` what the codes
    mean; a status counts as the code `http_401`. Where no code means anything, `phrases` are looked for in the
    texts at `messages`, whatever their case. A class is `grant_rejected` (only a person can mend it),
    `client_rejected` (our registration is wrong), `rate_limited`, `transient` or `bug` (our request is).
    """

    codes: tuple[Path, ...] = ("error",)
    classes: dict[ErrorClass, tuple[Word, ...]] = {}
    messages: tuple[Path, ...] = ("error_description",)
    phrases: dict[ErrorClass, tuple[Word, ...]] = {}

    def verdicts(self) -> Mapping[str, type[ProviderError]]:
        """Return what each code means, the standard's included; and each class, for a phrase to name it."""
        own = {code: CLASSES[name] for name, codes in self.classes.items() for code in codes}
        named = {str(name): CLASSES[name] for name in self.phrases}
        return {**OAUTH_ERRORS, **named, **own}


class ProbeRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an answer to a probe means: of this `status`, with this text in its body, where they are given."""

    verdict: Verdict
    status: Status | None = None
    says: Word | None = None


class Probe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an access token is tried at `probe_endpoint`.

    `{access_token}` in a header stands for it. The first of the `rules` that fits decides; where none does, any
    2xx is valid, 401 and 403 are invalid, and the rest says nothing.
    """

    method: Literal["GET", "POST"] = "GET"
    headers: dict[HeaderName, HeaderValue] = field(
        default_factory=lambda: {"Authorization": "Bearer {access_token}"}
    )
    rules: tuple[ProbeRule, ...] = ()


class Revocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a token is ended at `revocation_endpoint` (RFC 7009 by default), and with which statuses it is.

    The client authenticates where the token is in the `body`, as `token_parameter` of a form. In the `query`, or
    as the bearer in the `header`, the token speaks for itself.
    """

    method: Literal["POST", "GET", "DELETE"] = "POST"
    token_in: Literal["body", "query", "header"] = "body"  # noqa: S105 - a place
    token_parameter: Word = "token"  # noqa: S105 - a name
    success: tuple[Status, ...] = (200,)

    # What it cannot be, for descriptions of the API: JSON Schema for what is checked below.
    NEVER: ClassVar[Mapping[str, Any]] = {
        "required": ["method"],
        "properties": {"method": {"const": "GET"}, "token_in": {"const": "body"}},
    }

    def __post_init__(self) -> None:
        if self.token_in == "body" and self.method == "GET":  # noqa: S105
            raise ValueError("a GET has no body for the token")
