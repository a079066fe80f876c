"""What Voicenter's login answers give, on either stack: tokens, when they end, and whose they are.

Sources: the login code of Voicenter's SDK (`https://github.com/VoicenterTeam/VoicenterEventsSDK`, branch `next`,
`src/classes/auth/auth.class.ts`, `src/types/auth.d.ts`). It states neither the zone of dates nor any lifetime. The
old stack's answer names servers too (`Url`, `URLList`): that SDK connects to none of them, so nobody is told them.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from integrations.answers import LONGEST_TOKEN, at, json_object, lifetime, line, text
from integrations.contract import (
    Account,
    Answer,
    GrantRejected,
    Misused,
    ProviderError,
    Secret,
    TokenSet,
    Transient,
)
from integrations.jwt_claims import lifetime_of_jwt
from integrations.verdicts import judge

Stack = Literal["old", "new"]

# Israel's clocks are up to three hours ahead of UTC: so much too late is a date of theirs, if it is read as UTC.
ZONE_MARGIN = 3 * 3600  # seconds
SHORTEST = 600  # seconds that are left of a longer life, however wide the margin
_OLDEST = 2000  # years: what is before is .NET's word for no date at all
_SESSION: Mapping[Stack, str] = {"old": "Data.Socket", "new": "Data"}
_TOKEN: Mapping[Stack, str] = {"old": "Token", "new": "AccessToken"}
# What an error of an answer that is otherwise good (200) says where it is the login that is wrong.
_SAYS_NO = ("invalid", "incorrect", "wrong", "unauthori", "denied")


def read_session(answer: Answer, stack: Stack, label: str | None) -> TokenSet:
    """Return the tokens in *answer*, whose account people know as *label*; the new stack says it elsewhere.

    Raises GrantRejected where it was refused, and only then; or another ProviderError.
    """
    body = json_object(answer.body)
    found = at(body, _SESSION[stack])
    session: dict[str, Any] = found if isinstance(found, dict) else {}
    token = text(session.get(_TOKEN[stack]))
    if not 200 <= answer.status < 300 or body.get("error") or token is None or len(token) > LONGEST_TOKEN:
        raise _refusal(answer, body)
    access, refresh = Secret(token), text(session.get("RefreshToken"))
    return TokenSet(
        access_token=access,
        refresh_token=Secret(refresh) if refresh else None,
        expires_in=_lives(session.get("TokenExpiry"), access),
        refresh_expires_in=_lives(session.get("RefreshTokenExpiry"), Secret(refresh or "")) or None,
        account=account(session.get("PersonId"), label),
    )


def account(person: object, label: str | None) -> Account | None:
    """Return the account of the *person* that an answer names by a number or a text; None where it does not."""
    subject = line(str(person)) if isinstance(person, int | str) and not isinstance(person, bool) else None
    return Account(subject, label) if subject else None


def _refusal(answer: Answer, body: Mapping[str, Any]) -> ProviderError:
    """Return what *answer* means. A page of somebody between us and Voicenter says nothing about a login."""
    status = _status(answer, body)
    if body and status in {401, 403}:
        return GrantRejected("login_refused")
    if body and status == 400:
        return Misused("login_malformed")
    error = text(body.get("error"))
    if status == 200 and error is not None:
        says_no = any(word in error.casefold() for word in _SAYS_NO)
        return GrantRejected("login_refused") if says_no else Transient("login_failed")
    return judge(answer, None)


def _status(answer: Answer, body: Mapping[str, Any]) -> int:
    """Return the status that *body* states where that is worse than the answer's own."""
    stated = str(body.get("StatusCode"))
    return int(stated) if answer.status == 200 and stated in {"400", "401", "403"} else answer.status


def _lives(stated: object, token: Secret) -> int | None:
    """Return the seconds that *token* lives, by the date that is *stated*, or by what it says itself.

    None where neither says so. That a JWT's signature is not verified does no harm: it came from Voicenter by
    TLS, nobody is let in for it, and all that hangs on it is when we ask for another one.
    """
    moment = _moment(stated)
    if moment is not None and moment.tzinfo is not None:
        return lifetime(int(moment.timestamp() - time.time()))
    claimed = lifetime_of_jwt(token)
    if claimed is not None or moment is None:
        return claimed
    left = int(moment.replace(tzinfo=UTC).timestamp() - time.time())
    return lifetime(max(left - ZONE_MARGIN, min(left, SHORTEST)))


def _moment(stated: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(stated) or "")
    except ValueError:
        return None
    return moment if _OLDEST <= moment.year < 9999 else None
