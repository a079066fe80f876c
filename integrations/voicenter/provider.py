"""Voicenter: an organisation's code, a static token, and logins that give tokens for a while.

Sources: `https://github.com/VoicenterTeam/claude-marketplace` (`docs/authentication.md`, `docs/skills/call-log`,
`docs/skills/get-call-history`), `https://www.voicenter.com/API/Call-Log`, and those of `login.py`.

The list of extensions proves nothing: to a wrong code it answers that there are none. Nothing can be revoked.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx

from integrations.answers import json_object
from integrations.calls import bearer, call, plain
from integrations.contract import (
    Account,
    Answer,
    Field,
    Finding,
    GrantRejected,
    Handout,
    Kind,
    Misused,
    ProviderError,
    RateLimited,
    Root,
    Secret,
    Steps,
    TokenSet,
    fits_a_header,
)
from integrations.vendor import Vendor
from integrations.verdicts import judge, retry_after
from integrations.voicenter.advice import ADVICE
from integrations.voicenter.login import Stack, account, read_session

_TEXT = r"[!-~]+"
_STACK = Field(
    name="stack",
    label="Login API",
    secret=False,
    required=False,
    pattern="old|new",
    help='"old" (monitorAPI, where nothing is entered) or "new" (Auth/Login): as your organisation has it.',
)
CODE = Kind(
    id="code",
    label="API code of the organisation",
    how="enter",
    renewal="none",
    check_every=86_400,
    fields=(
        Field(
            name="code",
            label="API code",
            pattern=_TEXT,
            help="From Voicenter's back office. The vault's address has to be in CPanel, API Settings, "
            "Authorized IPs.",
        ),
    ),
)
BEARER_TOKEN = Kind(
    id="bearer_token",
    label="Bearer token (Call History)",
    how="enter",
    renewal="none",
    fields=(Field(name="token", label="Token", pattern=_TEXT, help="From Voicenter; it is not the API code."),),
)
LOGIN_TOKEN = Kind(
    id="login_token",
    label="Real-time login by token",
    how="enter",
    renewal="login_refresh",
    uses_client=False,
    fields=(Field(name="token", label="Login token", pattern=_TEXT, help="From Voicenter."), _STACK),
)
LOGIN_USER = Kind(
    id="login_user",
    label="Real-time login of a user",
    how="enter",
    renewal="login_refresh",
    uses_client=False,
    fields=(
        Field(name="email", label="E-mail", secret=False, pattern=r"[^\s@]+@[^\s@]+", help="Of a CPanel user."),
        Field(name="pin", label="Password", help="With which that user signs in to CPanel."),
        _STACK,
    ),
)
_WINDOW = timedelta(minutes=1)
_AGO = timedelta(hours=1)  # past, also where a clock is wrong by minutes
_THROTTLED = 5.0  # seconds, as documented
# What a refresh is answered with where its token is no good: then there is still the login.
_NOT_REFRESHED = frozenset({400, 401, 403, 404})


class Voicenter(Vendor):
    """The built-in provider `voicenter`.

    `rotation` is "never" although refresh tokens rotate: one that was spent unseen costs a login, and nobody's
    consent.
    """

    id, name = "voicenter", "Voicenter"
    docs = "https://www.voicenter.com/API"
    advice = ADVICE
    kinds = (CODE, BEARER_TOKEN, LOGIN_TOKEN, LOGIN_USER)
    default_lifetime = 900  # nobody says how long tokens live whose answer does not

    def renew(self, root: Root) -> Steps[TokenSet]:
        """Refresh where that can be done, and log in where it cannot: only a refused login is the end."""
        stack, label = _stack(root), _label(root)
        if root.refresh_token is not None and fits_a_header(root.refresh_token.reveal()):
            answer = yield self._refresh(stack, root.refresh_token)
            if answer.status not in _NOT_REFRESHED:
                with suppress(GrantRejected, Misused):
                    return read_session(answer, stack, label)
        return read_session((yield self._login(stack, root)), stack, label)

    def _minted(self, root: Root) -> Steps[Finding]:
        tokens = yield from self.renew(root)
        whose = tokens.account or (yield from self._whose(root, tokens.access_token))
        return Finding(verdict="valid", account=whose, tokens=tokens)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        if root.kind == CODE.id:
            return _of_call_log((yield self._call_log(root.credentials["code"])))
        if access_token is None or _stack(root) == "old" or not fits_a_header(access_token.reveal()):
            return Finding(verdict="unknown", code="cannot_be_tried")
        return _of_settings((yield self._settings(access_token)), root)

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        header = bearer(credentials["token"]) if kind == BEARER_TOKEN.id else None
        return Handout(credentials=credentials, authorization=header)

    def _whose(self, root: Root, access_token: Secret) -> Steps[Account | None]:
        """Return whose *access_token* is, as far as that can be found out: the login was proof enough."""
        try:
            return (yield from self.probe(root, access_token)).account
        except ProviderError:
            return None

    def _call_log(self, code: Secret) -> httpx.Request:
        """Return what asks for a minute of calls, in which it matters not whether there were any."""
        begin = datetime.now(UTC) - _AGO
        body = {
            "code": code.reveal(),
            "fields": ["CallID"],
            "search": {"fromdate": _date(begin), "todate": _date(begin + _WINDOW)},
            "sort": [{"field": "date", "order": "desc"}],
        }
        return call("POST", self.endpoints["call_log_url"], body=body)

    def _login(self, stack: Stack, root: Root) -> httpx.Request:
        given = {name: value.reveal() for name, value in root.credentials.items() if name != "stack"}
        by = "Token" if root.kind == LOGIN_TOKEN.id else "User"
        if stack == "old":
            return call("POST", f"{self.endpoints['monitor_login_url']}/{by}", body=given)
        if by == "User":
            given = {"username": given["email"], "password": given["pin"]}
        return call("POST", self.endpoints["login_url"], body={"identityType": by, **given})

    def _refresh(self, stack: Stack, token: Secret) -> httpx.Request:
        endpoint = "monitor_refresh_url" if stack == "old" else "refresh_url"
        return call("GET", self.endpoints[endpoint], authorization=bearer(token))

    def _settings(self, token: Secret) -> httpx.Request:
        return call("GET", self.endpoints["settings_url"], authorization=bearer(token))


def _of_call_log(answer: Answer) -> Finding:
    """Return what *answer* says of a code. Raises what may pass."""
    error = str(json_object(answer.body).get("ERROR_NUMBER"))
    if error == "0" and answer.status == 200:
        return Finding(verdict="valid")
    if error == "2":
        return Finding(verdict="invalid", code="code_rejected")
    if error == "1":
        raise RateLimited("call_log_throttled", retry_after=retry_after(answer.headers) or _THROTTLED)
    if error == "5":
        return Finding(verdict="unknown", code="clock_skew")
    if error == "4" or answer.status == 403:
        # It is this machine's address that is refused: before the code was looked at, or whatever it is.
        return Finding(verdict="unknown", code="ip_not_authorized")
    raise judge(answer, None)


def _of_settings(answer: Answer, root: Root) -> Finding:
    """Return what *answer* says of a token, and whose it is. SIP passwords are in it: no more is looked at."""
    body = json_object(answer.body)
    if answer.status == 200 and ("PersonID" in body or "IdentityCode" in body):
        return Finding(verdict="valid", account=account(body.get("PersonID"), _label(root)))
    if answer.status == 401 and body:
        return Finding(verdict="invalid", code="token_dead")
    raise judge(answer, None)


def _date(moment: datetime) -> str:
    """Return *moment* as the Call Log takes it: in UTC, and without saying so."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _label(root: Root) -> str | None:
    return plain(root.credentials, "email") or None


def _stack(root: Root) -> Stack:
    return "new" if plain(root.credentials, "stack") == "new" else "old"
