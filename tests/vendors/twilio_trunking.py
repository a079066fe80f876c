"""More of the fake Twilio: secondary Auth Tokens, keys being made, and SIP trunks with who may call through them.

Names are nobody's alone: two trunks, or lists, may have the same. A domain, and a username in one list, are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.provider.wire import Answer, json_answer
from tests.vendors.twilio import Asked, Call, Handler, Refusal, Twilio
from tests.vendors.twilio_accounts import Key, sid

PAGING = frozenset({"PageSize", "Page", "PageToken"})
_LISTS = "/2010-04-01/Accounts/{AccountSid}/SIP/CredentialLists"
_ATTACHED = "/v1/Trunks/{TrunkSid}/CredentialLists"
_NO_KEYS = frozenset({"Standard", "Restricted", "Main", "app"})
_KEYS = frozenset({"Standard", "Restricted", "app"})
_TRUNK = {
    "FriendlyName": False,
    "DomainName": False,
    "DisasterRecoveryUrl": False,
    "DisasterRecoveryMethod": False,
    "TransferMode": False,
    "Secure": False,
    "CnamLookupEnabled": False,
    "TransferCallerId": False,
}
_NEW_KEY = {"AccountSid": True, "FriendlyName": False, "KeyType": False, "Policy": False}
NO_FORM: Mapping[str, bool] = {}

TRUNKING_CALLS: Mapping[str, Call] = {
    "secondary": Call("accounts", "POST", "/v1/AuthTokens/Secondary", closed_to=_NO_KEYS),
    "no_secondary": Call("accounts", "DELETE", "/v1/AuthTokens/Secondary", closed_to=_NO_KEYS),
    "promote": Call("accounts", "POST", "/v1/AuthTokens/Promote", closed_to=_NO_KEYS),
    "keys": Call("iam", "GET", "/v1/Keys", PAGING | {"AccountSid"}, closed_to=_KEYS),
    "new_key": Call("iam", "POST", "/v1/Keys", form=_NEW_KEY, closed_to=_KEYS),
    "key": Call("iam", "GET", "/v1/Keys/{Sid}", closed_to=_KEYS),
    "no_key": Call("iam", "DELETE", "/v1/Keys/{Sid}", closed_to=_KEYS),
    "trunks": Call("trunking", "GET", "/v1/Trunks", PAGING),
    "new_trunk": Call("trunking", "POST", "/v1/Trunks", form=_TRUNK),
    "attached": Call("trunking", "GET", _ATTACHED, PAGING),
    "attach": Call("trunking", "POST", _ATTACHED, form={"CredentialListSid": True}),
    "lists": Call("api", "GET", f"{_LISTS}.json", PAGING),
    "new_list": Call("api", "POST", f"{_LISTS}.json", form={"FriendlyName": True}),
    "logins": Call("api", "GET", f"{_LISTS}/{{CredentialListSid}}/Credentials.json", PAGING),
    "new_login": Call(
        "api",
        "POST",
        f"{_LISTS}/{{CredentialListSid}}/Credentials.json",
        form={"Username": True, "Password": True},
    ),
    "change_login": Call(
        "api", "POST", f"{_LISTS}/{{CredentialListSid}}/Credentials/{{Sid}}.json", form={"Password": False}
    ),
}


@dataclass
class CredentialList:
    sid: str
    friendly_name: str
    logins: dict[str, tuple[str, str]] = field(default_factory=dict)  # username and password by SID


@dataclass
class Trunk:
    sid: str
    friendly_name: str | None
    domain_name: str | None
    lists: list[str] = field(default_factory=list)


@dataclass
class Trunking:
    """What the accounts of *twilio* have of all this. *page* is how many are on one, whatever is asked for."""

    twilio: Twilio
    page: int = 2
    foreign_pages: bool = False  # the next one is said to be at another host
    trunks: list[Trunk] = field(default_factory=list)
    lists: dict[str, CredentialList] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of keys, by SID
    policies: dict[str, Any] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)  # Auth Tokens that were replaced
    _made: "count[int]" = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        handlers: dict[str, Handler] = {
            "secondary": self._create_secondary,
            "no_secondary": self._delete_secondary,
            "promote": self._promote,
            "keys": self._list_keys,
            "new_key": self._create_key,
            "key": self._show_key,
            "no_key": self._delete_key,
            "trunks": lambda asked: self._paged(asked, "trunks", [self._trunk(asked, one) for one in self.trunks]),
            "new_trunk": self._create_trunk,
            "attached": self._list_attached,
            "attach": self._attach,
            "lists": lambda asked: self._paged(
                asked, "credential_lists", [self._list(asked, one) for one in self.lists.values()]
            ),
            "new_list": self._create_list,
            "logins": self._list_logins,
            "new_login": self._create_login,
            "change_login": self._change_login,
        }
        self.twilio.calls |= TRUNKING_CALLS
        self.twilio.handlers |= handlers

    def a_trunk(self, name: str | None, domain: str | None = None, *lists: CredentialList) -> Trunk:
        made = Trunk(sid("TK"), name, domain, [one.sid for one in lists])
        self.trunks.append(made)
        return made

    def a_list(self, name: str, **logins: str) -> CredentialList:
        made = CredentialList(sid("CL"), name)
        made.logins = {sid("CR"): (username, password) for username, password in logins.items()}
        self.lists[made.sid] = made
        return made

    def takes(self, domain: str, username: str, password: str) -> bool:
        """Say whether a call to *domain* gets through as *username*."""
        return any(
            (username, password) in self.lists[one].logins.values()
            for trunk in self.trunks
            if trunk.domain_name == domain
            for one in trunk.lists
        )

    # ---- Auth Tokens

    def _create_secondary(self, asked: Asked) -> Answer:
        if asked.account.secondary is not None:
            raise Refusal(400, 20001, "A secondary Auth Token exists already")
        asked.account.secondary = f"canary-secondary-{next(self._made)}"
        shown = {"secondary_auth_token": asked.account.secondary}
        return json_answer(_dated(asked, "/v1/AuthTokens/Secondary") | shown, 201)

    def _delete_secondary(self, asked: Asked) -> Answer:
        if asked.account.secondary is None:
            raise Refusal(404, 20404, "Not found")
        asked.account.secondary = None
        return Answer(204)

    def _promote(self, asked: Asked) -> Answer:
        account = asked.account
        if account.secondary is None:
            raise Refusal(400, 20001, "There is no secondary Auth Token")
        self.over.append(account.auth_token)
        account.auth_token, account.secondary = account.secondary, None
        return json_answer(_dated(asked, "/v1/AuthTokens/Promote") | {"auth_token": account.auth_token})

    # ---- keys

    def _list_keys(self, asked: Asked) -> Answer:
        if asked.query.get("AccountSid") != asked.account.sid:
            raise Refusal(400, 20001, "AccountSid is required")
        return self._paged(asked, "keys", [self._key(key) for key in asked.account.keys.values()])

    def _create_key(self, asked: Asked) -> Answer:
        if asked.form["AccountSid"] != asked.account.sid or len(asked.form.get("FriendlyName", "")) > 64:
            raise Refusal(400, 20001, "Invalid parameter")
        restricted = asked.form.get("KeyType") == "restricted"
        if restricted != ("Policy" in asked.form):
            raise Refusal(400, 20001, "A policy is required of a restricted key, and of no other")
        key = asked.account.a_key("Restricted" if restricted else "Standard", "messages")
        self.names[key.sid] = asked.form.get("FriendlyName", "")
        if restricted:
            self.policies[key.sid] = asked.form["Policy"]
        return json_answer(self._key(key) | {"secret": key.secret, "policy": None}, 201)

    def _show_key(self, asked: Asked) -> Answer:
        key = _found(asked.account.keys, asked.sids["Sid"])
        policy = {"allow": ["/twilio/messaging/messages/read"]} if key.sort == "Restricted" else None
        return json_answer(self._key(key) | {"policy": policy})

    def _delete_key(self, asked: Asked) -> Answer:
        del asked.account.keys[_found(asked.account.keys, asked.sids["Sid"]).sid]
        return Answer(204)

    def _key(self, key: Key) -> dict[str, Any]:
        moment = "Sun, 22 Nov 2026 10:00:00 +0000"
        return {
            "sid": key.sid,
            "friendly_name": self.names.get(key.sid, "Billing"),
            "date_created": moment,
            "date_updated": moment,
        }

    # ---- trunks

    def _create_trunk(self, asked: Asked) -> Answer:
        domain, name = asked.form.get("DomainName"), asked.form.get("FriendlyName")
        if domain is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,63}\.pstn\.twilio\.com", domain):
            raise Refusal(400, 21247, "The domain is not valid")
        if name is not None and len(name) > 64:
            raise Refusal(400, 20001, "Invalid parameter")
        if domain is not None and any(trunk.domain_name == domain for trunk in self.trunks):
            raise Refusal(400, 21247, "The domain is taken")
        return json_answer(self._trunk(asked, self.a_trunk(name, domain)), 201)

    def _list_attached(self, asked: Asked) -> Answer:
        trunk = self._named(asked)
        shown = [self._attachment(asked, trunk, self.lists[one]) for one in trunk.lists]
        return self._paged(asked, "credential_lists", shown)

    def _attach(self, asked: Asked) -> Answer:
        trunk, credential_list = self._named(asked), _found(self.lists, asked.form["CredentialListSid"])
        if credential_list.sid in trunk.lists:
            raise Refusal(409, 20409, "It is associated already")
        trunk.lists.append(credential_list.sid)
        return json_answer(self._attachment(asked, trunk, credential_list), 201)

    def _create_list(self, asked: Asked) -> Answer:
        if len(asked.form["FriendlyName"]) > 64:
            raise Refusal(400, 20001, "Invalid parameter")
        return json_answer(self._list(asked, self.a_list(asked.form["FriendlyName"])), 201)

    def _list_logins(self, asked: Asked) -> Answer:
        credential_list = _found(self.lists, asked.sids["CredentialListSid"])
        shown = [self._login(asked, credential_list, one) for one in credential_list.logins]
        return self._paged(asked, "credentials", shown)

    def _create_login(self, asked: Asked) -> Answer:
        credential_list = _found(self.lists, asked.sids["CredentialListSid"])
        username, password = asked.form["Username"], asked.form["Password"]
        if len(username) > 32 or username in {taken for taken, _ in credential_list.logins.values()}:
            raise Refusal(400, 21230, "The username is too long, or taken")
        made = sid("CR")
        credential_list.logins[made] = (username, _strong(password))
        return json_answer(self._login(asked, credential_list, made), 201)

    def _change_login(self, asked: Asked) -> Answer:
        credential_list = _found(self.lists, asked.sids["CredentialListSid"])
        username, _ = _found(credential_list.logins, asked.sids["Sid"])
        credential_list.logins[asked.sids["Sid"]] = (username, _strong(asked.form["Password"]))
        return json_answer(self._login(asked, credential_list, asked.sids["Sid"]))

    def _named(self, asked: Asked) -> Trunk:
        trunk: Trunk = _found({trunk.sid: trunk for trunk in self.trunks}, asked.sids["TrunkSid"])
        return trunk

    # ---- how it is shown

    def _trunk(self, asked: Asked, trunk: Trunk) -> dict[str, Any]:
        return _dated(asked, f"/v1/Trunks/{trunk.sid}") | {
            "sid": trunk.sid,
            "domain_name": trunk.domain_name,
            "friendly_name": trunk.friendly_name,
            "secure": False,
            "auth_type": "",
            "auth_type_set": [],
            "links": {},
        }

    def _attachment(self, asked: Asked, trunk: Trunk, one: CredentialList) -> dict[str, Any]:
        shown = {"sid": one.sid, "trunk_sid": trunk.sid, "friendly_name": one.friendly_name}
        return _dated(asked, f"/v1/Trunks/{trunk.sid}/CredentialLists/{one.sid}") | shown

    def _list(self, asked: Asked, one: CredentialList) -> dict[str, Any]:
        return {"sid": one.sid, "account_sid": asked.account.sid, "friendly_name": one.friendly_name}

    def _login(self, asked: Asked, one: CredentialList, login: str) -> dict[str, Any]:
        shown = {"sid": login, "account_sid": asked.account.sid, "credential_list_sid": one.sid}
        return shown | {"username": one.logins[login][0]}

    def _paged(self, asked: Asked, key: str, found: Sequence[dict[str, Any]]) -> Answer:
        """Return the page that is asked for, and where the next one is, as the call's host says it."""
        number = int(asked.query.get("Page", "0"))
        start, end = number * self.page, (number + 1) * self.page
        call = self.twilio.calls[asked.call]
        path, following = call.path.format(**asked.sids), None
        if end < len(found):
            kept = {name: value for name, value in asked.query.items() if name != "Page"}
            query = "&".join(f"{name}={value}" for name, value in {**kept, "Page": number + 1}.items())
            following = f"{path}?{query}"
        body: dict[str, Any] = {key: found[start:end]}
        origin = "https://elsewhere.example" if self.foreign_pages else self.twilio.endpoints[f"{call.host}_url"]
        if call.host == "api":
            foreign = following and self.foreign_pages
            return json_answer(
                body | {"page": number, "next_page_uri": f"{origin}{following}" if foreign else following}
            )
        meta = {"key": key, "page": number, "page_size": self.page}
        return json_answer(body | {"meta": meta | {"next_page_url": following and origin + following}})


def _found(known: Mapping[str, Any], named: str) -> Any:
    if named not in known:
        raise Refusal(404, 20404, "Not found")
    return known[named]


def _strong(password: str) -> str:
    """Return *password* where Twilio takes it: 12 characters, a digit, and letters of both cases."""
    if len(password) < 12 or not all(re.search(kind, password) for kind in ("[0-9]", "[a-z]", "[A-Z]")):
        raise Refusal(400, 21231, "The password is too weak")
    return password


def _dated(asked: Asked, path: str) -> dict[str, Any]:
    moment = "2026-11-22T10:00:00Z"
    return {
        "account_sid": asked.account.sid,
        "date_created": moment,
        "date_updated": moment,
        "url": f"https://twilio.example{path}",
    }
