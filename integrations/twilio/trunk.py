"""A SIP trunk of Twilio's: found where it is there, made where it is not, and who may call through it.

Sources: Twilio's OpenAPI descriptions (`trunking_v1`, `api_v2010`) and `https://www.twilio.com/docs/sip-trunking`.
Nothing is made that is there: every list is read to its end before. A trunk's name is nobody's alone, its domain
is: so none is made without a domain that is known to us before, and of two tries one is refused. A password is
never told by Twilio: a new one is kept before it is sent.
"""

import re
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from integrations.answers import text
from integrations.contract import (
    Finding,
    Handout,
    Keep,
    Misused,
    OutcomeUnknown,
    Root,
    Secret,
    Steps,
    Unreadable,
    Work,
)
from integrations.twilio.calls import Api, Object, Unable
from integrations.twilio.errors import read

_MARK = Secret("1")
DOMAIN = ".pstn.twilio.com"
LONGEST_NAME = 64  # characters

_HANDED_OUT = {"username": "username", "password": "password", "domain_name": "termination_uri"}


class Login(NamedTuple):
    """A credential in a credential list, by their SIDs."""

    list: str
    sid: str
    username: str


def check(credentials: Mapping[str, Secret]) -> None:
    """Raise Unreadable where *credentials* do not say as whom to ask, or for which trunk."""
    if "auth_token" not in credentials and not {"api_key_sid", "api_key_secret"} <= credentials.keys():
        raise Unreadable("auth_token_or_api_key_missing")
    if not {"friendly_name", "domain_name"} & credentials.keys():
        raise Unreadable("friendly_name_or_domain_name_missing")


def handout(credentials: Mapping[str, Secret]) -> Handout:
    """Return what a SIP client needs: as whom it calls, and where to."""
    return Handout(credentials={_HANDED_OUT[k]: v for k, v in credentials.items() if k in _HANDED_OUT})


class Trunk:
    """The trunk of one connection. With *resets* its password becomes the one that we know, or a new one.

    Kept are a `domain_name` before a trunk is made with it, and `username` and `password` before they are sent;
    and with `done` all of it for good: who enters the rest anew does not know what was chosen here.
    """

    def __init__(self, endpoints: Mapping[str, str], root: Root, *, resets: bool = False) -> None:
        self._api = Api(endpoints, root.credentials)
        self._given = {name: value.reveal() for name, value in root.credentials.items()}
        self._about = Secret(self._given.get("friendly_name") or self._given["domain_name"])
        self._pending = self._of_this(root.pending)
        self._resets = resets

    def look(self) -> Steps[Finding]:
        """Say whether it is there, and what is lacking of it. Nothing is changed."""
        try:
            trunk = yield from self._found()
        except Unable as error:
            return _lacking(error.code)
        if trunk is None:
            return _lacking("trunk_missing")
        return Finding(verdict="valid") if "password" in self._given else _lacking("password_unknown")

    def run(self) -> Work[Finding]:
        """Make what is missing of it, and find out the rest."""
        try:
            trunk = (yield from self._found()) or (yield from self._made())
            sid, domain = _sid(trunk), text(trunk.get("domain_name"))
            if domain is None:
                raise Unable("trunk_without_domain")
        except Unable as error:
            return _lacking(error.code)
        attached = yield from self._attached(sid)
        lists = attached or (yield from self._own_list())
        username, password = yield from self._login(lists)
        yield from self._attach(sid, lists[0], attached)
        known = {"domain_name": domain, "username": username, "password": password}
        made = {name: Secret(value) for name, value in known.items() if value is not None}
        yield Keep(credentials=made, pending={**made, "trunk": self._about, "done": _MARK})
        return Finding(verdict="valid") if password is not None else _lacking("password_unknown")

    def _of_this(self, pending: Mapping[str, Secret]) -> dict[str, Secret]:
        """Return what of *pending* was chosen for this trunk, and for the username that was entered."""
        if pending.get("trunk") != self._about:
            return {}
        username = self._given.get("username")
        another = username is not None and pending.get("username") != Secret(username)
        return {name: value for name, value in pending.items() if not another or name in {"trunk", "domain_name"}}

    # ---- the trunk

    def _found(self) -> Steps[Object | None]:
        """Return the trunk of its domain, or else of its name. Raises Unable where several have that."""
        trunks = yield from self._api.listed("trunking_url", "/v1/Trunks", "trunks")
        domain, name = self._domain(), self._given.get("friendly_name")
        for trunk in trunks:
            if domain is not None and (text(trunk.get("domain_name")) or "").casefold() == domain.casefold():
                return trunk
        named = [trunk for trunk in trunks if name is not None and trunk.get("friendly_name") == name]
        if len(named) > 1:
            raise Unable("trunk_ambiguous")
        return named[0] if named else None

    def _made(self) -> Work[Object]:
        if self._domain() is None:
            yield from self._keep(domain_name=_new_domain(self._given["friendly_name"]))
        form = {"FriendlyName": self._name(), "DomainName": self._domain() or ""}
        try:
            return read((yield self._api.request("POST", "trunking_url", "/v1/Trunks", form)))
        except OutcomeUnknown as error:
            trunk = yield from self._found()
            if trunk is None:
                raise error from None
            return trunk

    def _domain(self) -> str | None:
        return self._chosen("domain_name")

    def _name(self) -> str:
        return self._about.reveal()[:LONGEST_NAME]

    # ---- its credential lists

    def _attached(self, trunk: str) -> Steps[list[str]]:
        path = f"/v1/Trunks/{trunk}/CredentialLists"
        return [_sid(one) for one in (yield from self._api.listed("trunking_url", path, "credential_lists"))]

    def _own_list(self) -> Steps[list[str]]:
        """Return the account's list by the trunk's name, made where there is none."""
        path = self._api.account_path("/SIP/CredentialLists")
        for one in (yield from self._api.listed("api_url", path, "credential_lists")):
            if one.get("friendly_name") == self._name():
                return [_sid(one)]
        return [_sid(read((yield self._api.request("POST", "api_url", path, {"FriendlyName": self._name()}))))]

    def _attach(self, trunk: str, credential_list: str, attached: list[str]) -> Steps[None]:
        """Have *trunk* ask for the credentials of a list. What refuses because it does already is not known."""
        if credential_list in attached:
            return
        path = f"/v1/Trunks/{trunk}/CredentialLists"
        answer = yield self._api.request("POST", "trunking_url", path, {"CredentialListSid": credential_list})
        if 400 <= answer.status < 500 and credential_list in (yield from self._attached(trunk)):
            return
        read(answer)

    # ---- who may call

    def _login(self, lists: list[str]) -> Work[tuple[str, str | None]]:
        """Return a username of *lists*, made where it is missing, and its password, None where nobody knows it."""
        known = yield from self._logins(lists)
        wanted, password = self._chosen("username"), self._chosen("password")
        login = next((one for one in known if wanted in {None, one.username}), None)
        if login is None:
            wanted, password = wanted or f"vault-{secrets.token_hex(6)}", password or _new_password()
            yield from self._keep(username=wanted, password=password)
            yield from self._create(lists[0], wanted, password)
        elif self._resets or self._may_be_sent():
            # Nobody knows whether it was sent: it may be sent as often as one likes.
            wanted, password = login.username, password or _new_password()
            yield from self._keep(username=wanted, password=password)
            path = self._credentials_path(login.list, f"/{login.sid}")
            read((yield self._api.request("POST", "api_url", path, {"Password": password})))
        return (wanted or "") if login is None else login.username, password

    def _logins(self, lists: list[str]) -> Steps[list[Login]]:
        found = list[Login]()
        for credential_list in lists:
            path = self._credentials_path(credential_list)
            for one in (yield from self._api.listed("api_url", path, "credentials")):
                found.append(Login(credential_list, _sid(one), text(one.get("username")) or ""))
        return found

    def _create(self, credential_list: str, username: str, password: str) -> Steps[None]:
        form = {"Username": username, "Password": password}
        read((yield self._api.request("POST", "api_url", self._credentials_path(credential_list), form)))

    def _credentials_path(self, credential_list: str, of: str = "") -> str:
        return self._api.account_path(f"/SIP/CredentialLists/{credential_list}/Credentials{of}")

    def _may_be_sent(self) -> bool:
        return "password" in self._pending and "done" not in self._pending

    def _chosen(self, name: str) -> str | None:
        """Return what a person has entered, or what was chosen before for want of it."""
        if name in self._pending and name not in self._given:
            return self._pending[name].reveal()
        return self._given.get(name)

    def _keep(self, **fields: str) -> Work[None]:
        self._pending.pop("done", None)
        self._pending |= {"trunk": self._about} | {name: Secret(value) for name, value in fields.items()}
        yield Keep(pending=dict(self._pending))


def _lacking(code: str) -> Finding:
    return Finding(verdict="limited", code=code, lacks=("call",))


def _sid(one: Object) -> str:
    """Return the SID of what Twilio shows. It goes into paths: nothing but letters and digits is one."""
    sid = text(one.get("sid"))
    if sid is None or not re.fullmatch(r"[A-Z]{2}[0-9a-fA-F]{32}", sid):
        raise Misused("sid_missing")
    return sid


def _new_domain(name: str) -> str:
    """Return a domain that nobody has, which resembles *name*."""
    word = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:32].strip("-")
    return f"{word or 'trunk'}-{secrets.token_hex(6)}{DOMAIN}"


def _new_password() -> str:
    """Return 32 characters, with a digit and letters of both cases, as Twilio wants them."""
    return f"{secrets.token_urlsafe(32)[:29].translate({45: 'x', 95: 'y'})}aZ7"
