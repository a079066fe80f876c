"""What Google's refusals mean beyond the standard's words: its own words, subtypes and sentences.

One word, `invalid_grant`, says that a person withdrew the grant, that a Workspace wants them to sign in
again, that a key file is dead, and that our clock is wrong. Only what else is in the answer tells.
Sources: Google's "Using OAuth 2.0 to Access Google APIs" and "Session control for Google Cloud services".
"""

from collections.abc import Mapping

from integrations.answers import json_object, text
from integrations.contract import Answer, ClientRejected, GrantRejected, Misused, ProviderError
from integrations.verdicts import OAUTH_ERRORS, Verdicts, judge

# Google's own words, at the token endpoint and in what a person is sent back with.
WORDS: Verdicts = {
    **OAUTH_ERRORS,
    "admin_policy_enforced": GrantRejected,
    "org_internal": GrantRejected,
    "invalid_rapt": GrantRejected,
    "rapt_required": GrantRejected,
    "redirect_uri_mismatch": ClientRejected,
    "disallowed_useragent": Misused,
}

# What counts more than the word beside it. Ours, where two of Google's are the same to a person.
_SUBTYPES: Mapping[str, str] = {
    "invalid_rapt": "invalid_rapt",
    "rapt_required": "invalid_rapt",
    "admin_policy_enforced": "admin_policy_enforced",
    "org_internal": "org_internal",
}

# A part of the sentence, in lower case, that comes with one of the standard's words.
_SENTENCES: Mapping[str, tuple[tuple[str, type[ProviderError], str], ...]] = {
    "invalid_grant": (
        ("expired or revoked", GrantRejected, "expired_or_revoked"),
        ("account has been deleted", GrantRejected, "account_deleted"),
        ("short-lived token", Misused, "clock_skew"),
        ("invalid jwt signature", GrantRejected, "invalid_jwt_signature"),
        ("account not found", GrantRejected, "service_account_not_found"),
        ("email or user id", GrantRejected, "subject_unknown"),
    ),
    "unauthorized_client": (
        ("client is unauthorized to retrieve access tokens using this method", GrantRejected, "not_delegated"),
    ),
}


def refusal(answer: Answer) -> ProviderError:
    """Return what *answer*, which gives no tokens, means."""
    body = json_object(answer.body)
    word, subtype = text(body.get("error")), _SUBTYPES.get(text(body.get("error_subtype")) or "")
    judged = judge(answer, word, WORDS)
    if word is None or word not in WORDS:
        return judged
    if subtype is not None:
        return GrantRejected(subtype)
    if word in _SUBTYPES:
        return GrantRejected(_SUBTYPES[word])
    return _by_sentence(word, (text(body.get("error_description")) or "").lower()) or judged


def _by_sentence(word: str, sentence: str) -> ProviderError | None:
    for part, meaning, code in _SENTENCES.get(word, ()):
        if part in sentence:
            return meaning(code)
    return None
