"""Twilio, more strictly than Twilio is: what its descriptions do not name is refused, and noted as a misfit.

Each of its hosts is a socket of its own. `CALLS` is a table of this fake's own of what each call accepts; a test
of more gives it more calls, and what carries them out. It shares no code with the vault.
"""

import json
import re
import time
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

import httpx

from integrations import contract
from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.sockets import Sockets
from tests.vendors.twilio_accounts import Account, Who, basic, sid

HOSTS = ("api", "accounts", "trunking", "oauth", "iam")
FORM = "application/x-www-form-urlencoded"
_PAGING = frozenset({"PageSize", "Page", "PageToken"})
_ACCOUNT = "/2010-04-01/Accounts/{AccountSid}"


class Call(NamedTuple):
    """What one call accepts: a `{…}` of its *path* is a SID, and True in its *form* a field that has to be there.

    *closed_to* are the kinds of credentials that it refuses as if they were no good.
    """

    host: str
    method: str
    path: str
    query: frozenset[str] = frozenset()
    form: Mapping[str, bool] | None = None
    anonymous: bool = False
    closed_to: frozenset[str] = frozenset()

    def match(self, host: str, path: str) -> dict[str, str] | None:
        """Return the SIDs in *path* by name; None where it is another call's."""
        found = _pattern(self.path).fullmatch(path) if host == self.host else None
        return found.groupdict() if found else None


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[A-Z]{2}[0-9a-fA-F]{32})", re.escape(path)))


CALLS: Mapping[str, Call] = {
    "account": Call("api", "GET", "/2010-04-01/Accounts/{Sid}.json", closed_to=frozenset({"Standard"})),
    "messages": Call(
        "api", "GET", f"{_ACCOUNT}/Messages.json", _PAGING | {"To", "From", "DateSent", "DateSent<", "DateSent>"}
    ),
    "numbers": Call(
        "api",
        "GET",
        f"{_ACCOUNT}/IncomingPhoneNumbers.json",
        _PAGING | {"Beta", "FriendlyName", "PhoneNumber", "Origin"},
    ),
    "token": Call(
        "oauth",
        "POST",
        "/v2/token",
        query=frozenset({"account_sid"}),
        form={"grant_type": True, "client_id": True, "client_secret": True},
        anonymous=True,
    ),
}


@dataclass(frozen=True)
class Asked:
    """A request as the table takes it: its call, the SIDs of its path, its parameters, and who asks."""

    call: str
    sids: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    who: Who | None

    @property
    def account(self) -> Account:
        assert self.who is not None
        return self.who.account


@dataclass(frozen=True)
class Line:
    """One request in the ledger, without any of its values: *code* is Twilio's number where it was refused."""

    call: str | None
    status: int | None  # None: no answer was sent
    code: int | None = None


class Refusal(Exception):
    """An error as Twilio words it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def answer(self) -> Answer:
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        body = {"code": self.code, "message": self.message, "more_info": more, "status": self.status}
        return json_answer(body, self.status)


Handler = Callable[[Asked], Answer]


@dataclass
class Fault:
    """What happens to one call: *instead* of it; or it is carried out, and its answer is lost."""

    instead: Answer | None = None


@dataclass
class Twilio:
    """`async with Twilio() as twilio: …`"""

    calls: dict[str, Call] = field(default_factory=lambda: dict(CALLS))
    accounts: dict[str, Account] = field(default_factory=dict)
    ledger: list[Line] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    tokens_are_jwts: bool = False
    expires_in: Any = 3600  # seconds, or whatever the answer is to have there
    faults: dict[str, deque[Fault]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.handlers: dict[str, Handler] = {
            "account": self._show_account,
            "messages": self._list_messages,
            "numbers": self._list_numbers,
            "token": self._mint,
        }
        self._sockets = Sockets(HOSTS, self._answer)
        self._minted = count(1)

    async def __aenter__(self) -> Self:
        await self._sockets.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._sockets.__aexit__(*error)

    @property
    def endpoints(self) -> dict[str, str]:
        """Where its hosts are, by the names that the settings have for them."""
        return {f"{host}_url": url for host, url in self._sockets.urls.items()}

    def an_account(self, **changed: Any) -> Account:
        made = Account(sid("AC"), f"canary-auth-token-{next(self._minted)}", **changed)
        self.accounts[made.sid] = made
        return made

    def refuse(self, call: str, status: int, body: Any, **headers: str) -> None:
        """Have the next *call* answered so, and not carried out."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._queue(call).append(Fault(Answer(status, {"Content-Type": "application/json"} | headers, payload)))

    def lose(self, call: str) -> None:
        """Have the next *call* carried out, and the connection reset instead of an answer."""
        self._queue(call).append(Fault())

    def said(self, request: httpx.Request) -> contract.Answer:
        """Return what is answered to *request*, without a socket; it is addressed to Twilio itself."""
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        query = request.url.query.decode()
        answer = self._answer(
            request.url.host.partition(".")[0],
            Request(request.method, request.url.path, query, headers, request.content),
        )
        assert answer is not None
        return contract.Answer(
            answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body
        )

    def count(self, call: str) -> int:
        """Return how often *call* was asked for."""
        return sum(line.call == call for line in self.ledger)

    def _queue(self, call: str) -> deque[Fault]:
        return self.faults.setdefault(call, deque())

    # ---- a request, up to what carries it out

    def _answer(self, host: str, request: Request) -> Answer | None:
        call, code = None, None
        try:
            call, sids = self._call(host, request)
            fault = self._queue(call).popleft() if self._queue(call) else None
            answer = fault.instead if fault and fault.instead else self._carried_out(call, sids, request)
        except Refusal as refusal:
            answer, fault, code = refusal.answer(), None, refusal.code
        lost = fault is not None and fault.instead is None
        self.ledger.append(Line(call, None if lost else answer.status, code))
        return None if lost else answer

    def _call(self, host: str, request: Request) -> tuple[str, dict[str, str]]:
        found = {
            name: sids for name, call in self.calls.items() if (sids := call.match(host, request.path)) is not None
        }
        for name, sids in found.items():
            if self.calls[name].method == request.method:
                return name, sids
        self.misfits.append(f"{request.method} at {host}, {'wrong method' if found else 'unknown path'}")
        raise Refusal(405, 20004, "Method not allowed") if found else Refusal(404, 20404, "Not found")

    def _carried_out(self, call: str, sids: dict[str, str], request: Request) -> Answer:
        query = self._parameters(call, request.query, dict.fromkeys(self.calls[call].query, False))
        form = self._form(call, request)
        who = self._who(call, request)
        if who is not None:
            self._permit(call, who, sids)
        return self.handlers[call](Asked(call, sids, query, form, who))

    def _form(self, call: str, request: Request) -> dict[str, str]:
        fields, sort = self.calls[call].form, ";".join(request.all("content-type"))
        if fields is None:
            self._fits(call, "a body where none is wanted", not request.body)
            return {}
        media = sort.replace(" ", "").lower()
        self._fits(call, "the body is no form", media in {FORM, f"{FORM};charset=utf-8"})
        return self._parameters(call, request.body.decode(), fields)

    def _parameters(self, call: str, encoded: str, known: Mapping[str, bool]) -> dict[str, str]:
        pairs = parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded))
        names = [name for name, _ in pairs]
        self._fits(call, f"parameters {sorted(set(names) - known.keys())}", set(names) <= known.keys())
        self._fits(call, "a parameter twice", len(set(names)) == len(names))
        missing = [name for name, required in known.items() if required and not dict(pairs).get(name)]
        self._fits(call, f"without {missing}", not missing)
        return dict(pairs)

    def _fits(self, call: str, what: str, fits: bool) -> None:
        if not fits:
            self.misfits.append(f"{call}: {what}")
            raise Refusal(400, 20001, "Invalid parameter")

    # ---- who asks

    def _who(self, call: str, request: Request) -> Who | None:
        headers = request.all("authorization")
        if self.calls[call].anonymous:
            self._fits(call, "the client authenticates in the body alone", not headers)
            return None
        self._fits(call, "not one Authorization header", len(headers) == 1)
        who = self._bearer(headers[0]) if headers[0].startswith("Bearer ") else self._basic(headers[0])
        if who is None:
            raise Refusal(401, 20003, "Authenticate")
        return who

    def _basic(self, header: str) -> Who | None:
        user, password = basic(header) or ("", "")
        for account in self.accounts.values():
            if user == account.sid and password in {account.auth_token, account.secondary}:
                return Who(account)
            key = account.keys.get(user)
            if key is not None and key.secret == password:
                return Who(account, key=key)
        return None

    def _bearer(self, header: str) -> Who | None:
        token = header.removeprefix("Bearer ")
        for account in self.accounts.values():
            for app in account.apps.values():
                if app.tokens.get(token, 0) > time.time():
                    return Who(account, app=app)
        return None

    def _permit(self, call: str, who: Who, sids: Mapping[str, str]) -> None:
        """Raise Refusal where *who* may not make this *call*, or not of this account."""
        sort = who.key.sort if who.key else "app" if who.app else "auth_token"
        if sort in self.calls[call].closed_to:
            raise Refusal(401, 20003, "Authenticate")
        if who.key and sort == "Restricted" and call not in who.key.allowed:
            raise Refusal(403, 70051, "Authorization error")
        named = sids.get("AccountSid", sids.get("Sid") if call == "account" else None)
        if named is not None and named != who.account.sid:
            raise Refusal(404, 20404, "Not found") if call == "account" else Refusal(401, 20003, "Authenticate")
        if who.account.status != "active" and call != "account":
            raise Refusal(403, 20403, "Account not active")

    # ---- what calls do

    def _show_account(self, asked: Asked) -> Answer:
        return json_answer(asked.account.shown())

    def _list_messages(self, asked: Asked) -> Answer:
        return json_answer({"messages": [], "page": 0, "page_size": 1, "next_page_uri": None})

    def _list_numbers(self, asked: Asked) -> Answer:
        """List the numbers that have the digits of the wanted one in them, as Twilio does."""
        wanted = asked.query.get("PhoneNumber", "")
        found = [
            {"sid": sid("PN"), "account_sid": asked.account.sid, "phone_number": number}
            for number in asked.account.numbers
            if wanted in number
        ]
        return json_answer({"incoming_phone_numbers": found, "page": 0, "next_page_uri": None})

    def _mint(self, asked: Asked) -> Answer:
        self._fits("token", "another grant type", asked.form["grant_type"] == "client_credentials")
        for account in self.accounts.values():
            app = account.apps.get(asked.form["client_id"])
            if app is not None and asked.form["client_secret"] in app.secrets:
                lives = self.expires_in if isinstance(self.expires_in, int) else 3600
                token = self._token(account, time.time() + min(lives, 3600))
                app.tokens[token] = time.time() + min(lives, 3600)
                return json_answer(
                    {
                        "access_token": token,
                        "id_token": None,
                        "token_type": "Bearer",
                        "expires_in": self.expires_in,
                        "refresh_token": None,
                    }
                )
        return json_answer({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)

    def _token(self, account: Account, ends: float) -> str:
        number = next(self._minted)
        if not self.tokens_are_jwts:
            return f"canary-access-{number}"
        parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": account.sid, "exp": int(ends), "jti": str(number)})
        head, claims = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return f"{head}.{claims}.c2lnbmF0dXJl"
