"""What a refusal of Twilio's means, whichever of its hosts it comes from.

Each has a number, whatever the status: `https://www.twilio.com/docs/api/errors`. It is the code here too, for that
is what Twilio's documents are found by; where several say the same, a word is.
"""

from collections.abc import Mapping
from typing import Any

from integrations.answers import json_object
from integrations.contract import Answer, GrantRejected, Misused, ProviderError, Transient
from integrations.verdicts import OAUTH_ERRORS, Verdicts, judge

AUTHENTICATE = "20003"  # no good, or of a kind that may not call this
TEST_CREDENTIALS = "20008"
NOT_FOUND = "20404"
NOT_PERMITTED = "70051"  # a Restricted key that is good, or an account that is suspended: one code for both
SUSPENDED = "account_suspended"

# By Twilio's number. What is told to an app that authenticates is told to the tenant's own credentials: there is
# no client of ours that could be to blame.
VERDICTS: Verdicts = {
    **OAUTH_ERRORS,
    "invalid_client": GrantRejected,
    "unauthorized_client": GrantRejected,
    AUTHENTICATE: GrantRejected,
    SUSPENDED: GrantRejected,
    "20006": GrantRejected,  # a Connect app, revoked by its account
    TEST_CREDENTIALS: Misused,
    "20001": Misused,
    NOT_FOUND: Misused,
    NOT_PERMITTED: Misused,
    "20429": Transient,  # one account's concurrency, nobody else's; never processed
    "20500": Transient,
    "20503": Transient,
}
_SAME: Mapping[str, str] = {"20005": SUSPENDED, "20403": SUSPENDED}


def code_of(answer: Answer) -> str | None:
    """Return the code with which *answer* refuses; None where it does not, or says nothing that can be read."""
    if 200 <= answer.status < 300:
        return None
    body = json_object(answer.body)
    number, word = body.get("code"), body.get("error")
    found = str(number) if isinstance(number, int | str) and not isinstance(number, bool) else None
    found = _SAME.get(found or "", found)
    if found in VERDICTS or _parameter(answer, found):
        return found
    return word if isinstance(word, str) and word in VERDICTS else None


def read(answer: Answer) -> dict[str, Any]:
    """Return the object in *answer*, or raise the ProviderError that it amounts to.

    One with no content (204) is an empty object.
    """
    body = json_object(answer.body)
    if answer.status == 204 or (200 <= answer.status < 300 and body):
        return body
    raise refusal(answer)


def refusal(answer: Answer) -> ProviderError:
    """Return what *answer* means, which is not what was asked for."""
    code = code_of(answer)
    if code is not None and code not in VERDICTS:
        return Misused(code)
    return judge(answer, code, VERDICTS)


def _parameter(answer: Answer, code: str | None) -> bool:
    """Say whether *code* is of those for wrong parameters, 21xxx, which come with 400."""
    return answer.status == 400 and code is not None and len(code) == 5 and code.isdecimal() and code[:2] == "21"
