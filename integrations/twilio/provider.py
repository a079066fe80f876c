"""Twilio: an account's own token, API keys of three sorts, and OAuth apps.

Sources: Twilio's OpenAPI descriptions (`https://github.com/twilio/twilio-oai`), and
`https://www.twilio.com/docs/iam/api-keys`, `…/docs/iam/oauth-apps`. No call is open to every kind: an Auth Token
and a Main key may look at the account; to a Standard key that is refused in the same words as to a dead one
(`https://www.twilio.com/docs/api/errors/20003`), and a Restricted key may do what its policy lists.
"""

from collections.abc import Mapping
from dataclasses import replace

import httpx

from integrations.answers import read_tokens, text
from integrations.calls import call
from integrations.contract import (
    Account,
    Answer,
    ClientTokenRequest,
    Finding,
    GrantRejected,
    Handout,
    Root,
    Secret,
    Steps,
    TokenSet,
    Work,
)
from integrations.jwt_claims import lifetime_of_jwt
from integrations.twilio import trunk
from integrations.twilio.advice import ADVICE
from integrations.twilio.calls import Api, authorization
from integrations.twilio.errors import (
    AUTHENTICATE,
    NOT_FOUND,
    NOT_PERMITTED,
    SUSPENDED,
    TEST_CREDENTIALS,
    VERDICTS,
    code_of,
    read,
    refusal,
)
from integrations.twilio.grants import signed
from integrations.twilio.keys import ApiKeyRotation
from integrations.twilio.kinds import API_KEY, AUTH_TOKEN, OAUTH_APP, SIP_TRUNK
from integrations.twilio.rotation import AuthTokenRotation
from integrations.twilio.trunk import Trunk
from integrations.vendor import Vendor
from integrations.verdicts import judge

_LOOKED_AT = "20"  # numbers: those that have the wanted one's digits in them
_NOT_ACTIVE = frozenset({"suspended", "closed"})
_DEAD = Finding(verdict="invalid", code=AUTHENTICATE)


class Twilio(Vendor):
    """The built-in provider `twilio`."""

    id, name = "twilio", "Twilio"
    docs = "https://www.twilio.com/docs/iam/api-keys"
    advice = ADVICE
    kinds = (AUTH_TOKEN, API_KEY, OAUTH_APP, SIP_TRUNK)

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        if kind == SIP_TRUNK.id:
            trunk.check(credentials)
        return Account(credentials["account_sid"].reveal())

    def renew(self, root: Root) -> Steps[TokenSet]:
        """Mint another token: the former one lives on, and there is nothing to renew it with."""
        form = {
            "grant_type": "client_credentials",
            "client_id": root.credentials["client_id"].reveal(),
            "client_secret": root.credentials["client_secret"].reveal(),
        }
        answer = yield call("POST", f"{self.endpoints['oauth_url']}/v2/token", form=form)
        if code_of(answer) is not None:
            raise refusal(answer)
        tokens = read_tokens(answer, VERDICTS)
        if tokens.expires_in is not None:
            return tokens
        return replace(tokens, expires_in=lifetime_of_jwt(tokens.access_token))

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        if root.kind == SIP_TRUNK.id:
            return (yield from Trunk(self.endpoints, root).look())
        found = yield from self._working(root, access_token)
        if root.kind == API_KEY.id and found.code == NOT_PERMITTED:  # a Restricted one, which signs nothing
            found = replace(found, lacks=("client_tokens",))
        number = root.credentials.get("phone_number")
        if found.verdict == "invalid" or number is None:
            return found
        asked = {"PhoneNumber": number.reveal(), "PageSize": _LOOKED_AT}
        answer = yield self._ask(root, access_token, "/IncomingPhoneNumbers", asked)
        return _of_numbers(answer, number.reveal(), found)

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        if kind == SIP_TRUNK.id:
            return trunk.handout(credentials)
        shown = {k: v for k, v in credentials.items() if kind != API_KEY.id or k != "auth_token"}
        return Handout(credentials=shown, authorization=authorization(kind, credentials))

    def work(self, ability: str, root: Root) -> Work[Finding] | None:
        match root.kind, ability:
            case AUTH_TOKEN.id, "rotate":
                return AuthTokenRotation(self.endpoints, root, self._works).run()
            case API_KEY.id, "rotate":
                return ApiKeyRotation(self.endpoints, root, self._works).run()
            case SIP_TRUNK.id, "set_up" | "repair":
                return Trunk(self.endpoints, root, resets=ability == "repair").run()
        return None

    def _works(self, root: Root) -> Steps[Finding]:
        return self._working(root, None)

    def client_token(self, root: Root, asked: ClientTokenRequest, issued_at: int) -> Secret:
        return signed(root.credentials, asked, issued_at)

    def _minted(self, root: Root) -> Steps[Finding]:
        found = yield from super()._minted(root)
        if (
            found.verdict == "invalid" and found.code == AUTHENTICATE
        ):  # its token alone: the app is not a wrong one
            return replace(found, verdict="limited", code="account_refuses_app")
        return found

    def _working(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        """Ask what credentials of this kind may ask."""
        if root.kind != OAUTH_APP.id:
            found = _of_account((yield self._ask(root, access_token, "")))
            if root.kind != API_KEY.id or found != _DEAD:
                return found
        # An app, or a key that is dead or a Standard one.
        return _of_messages((yield self._ask(root, access_token, "/Messages", {"PageSize": "1"})))

    def _ask(
        self, root: Root, access_token: Secret | None, what: str, query: Mapping[str, str] | None = None
    ) -> httpx.Request:
        api = Api(self.endpoints, root.credentials, access_token)
        return api.request("GET", "api_url", api.account_path(what), query=query)


def _of_account(answer: Answer) -> Finding:
    """Read what an Auth Token or a Main key is shown. Of it the `auth_token` is never looked at.

    Raises what may pass.
    """
    code = code_of(answer)
    if code == NOT_FOUND:
        return Finding(verdict="invalid", code="account_not_found")
    if code is not None:
        return _refused(answer)
    account = read(answer)
    sid, status = text(account.get("sid")), text(account.get("status"))
    if status in _NOT_ACTIVE:
        return Finding(verdict="invalid", code=SUSPENDED)
    if sid is None or status != "active":
        raise judge(answer, None)
    return Finding(verdict="valid", account=Account(sid, text(account.get("friendly_name"))))


def _of_messages(answer: Answer) -> Finding:
    """Read the answer that is a list for a Standard key, and for an app that may read it. Raises what may pass."""
    if code_of(answer) is not None:
        return _refused(answer)
    if not isinstance(read(answer).get("messages"), list):
        raise judge(answer, None)
    return Finding(verdict="valid")


def _of_numbers(answer: Answer, wanted: str, found: Finding) -> Finding:
    """Return what was *found*, less where the account does not have the number *wanted*. Raises what may pass."""
    without = replace(found, verdict="limited", lacks=(*found.lacks, "send_from"))
    if code_of(answer) in {AUTHENTICATE, NOT_PERMITTED, TEST_CREDENTIALS}:
        return replace(without, code=found.code or "phone_number_unreadable")
    numbers = read(answer).get("incoming_phone_numbers")
    if not isinstance(numbers, list):
        raise judge(answer, None)
    if any(isinstance(one, dict) and one.get("phone_number") == wanted for one in numbers):
        return found
    return replace(without, code="phone_number_missing")


def _refused(answer: Answer) -> Finding:
    """Return what a refusal says of the credentials. Raises what says nothing of them."""
    code, refused = code_of(answer), refusal(answer)
    if code in {NOT_PERMITTED, TEST_CREDENTIALS}:
        return Finding(verdict="limited", code=code)
    if isinstance(refused, GrantRejected):
        return Finding(verdict="invalid", code=code)
    raise refused
