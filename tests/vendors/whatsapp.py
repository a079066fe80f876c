"""Meta, more strictly than Meta is: a parameter too many or too few is refused, and noted as a misfit.

It shares no code with the vault. Its time passes when a test says so: `pass_time`.
"""

import hashlib
import hmac
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.sockets import Sockets

VERSION = "/v25.0"
DAY = 86_400
SHORT, LONG = 5400, 60 * DAY  # seconds that a person's token lives
CODE_LIVES = 30  # seconds
MANAGE, MESSAGE = "whatsapp_business_management", "whatsapp_business_messaging"


@dataclass
class Token:
    """A token that was given out. Moments are Unix seconds; 0: never."""

    type: str
    user_id: str
    expires_at: float
    data_access_expires_at: float = 0
    scopes: tuple[str, ...] = (MANAGE, MESSAGE)
    targets: tuple[str, ...] = ("1001",)
    app_id: str = ""
    dead: int | None = None  # the subcode that says why


@dataclass
class Code:
    """What a login or a signup gave: good once, and for the address that it was sent to, if any."""

    token: Token
    redirect_uri: str | None
    made_at: float


class Line(NamedTuple):
    """One request in the ledger, without its values: *at* is in seconds since the beginning."""

    call: str
    at: float
    status: int | None  # None: no answer was sent


class Refusal(Exception):
    """An error as Meta words it."""

    def __init__(self, code: int, message: str, subcode: int | None = None, status: int = 400) -> None:
        super().__init__(message)
        error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A1"}
        if subcode is not None:
            error["error_subcode"] = subcode
        self.status, self.body = status, {"error": error}


Params = dict[str, str]


@dataclass
class WhatsApp:
    """`async with WhatsApp() as meta: meta.endpoints`"""

    app_id: str = "4711"
    app_secret: str = "canary-app-secret"
    person: Token = field(default_factory=lambda: Token("USER", "77", SHORT, 90 * DAY))
    denies: bool = False
    signup: str | None = None  # the configuration of its dialog that is an Embedded Signup
    tells_expiry: bool = True  # whether an exchange says how long its token lives
    tokens: dict[str, Token] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    ledger: list[Line] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    faults: defaultdict[str, deque[Answer | None]] = field(default_factory=lambda: defaultdict(deque))
    elapsed: float = 0

    def __post_init__(self) -> None:
        self._sockets = Sockets(["dialog", "graph"], self._answer)
        self._numbers = count(1)
        self._calls: dict[tuple[str, str, str], tuple[str, Callable[[Params], Answer]]] = {
            ("dialog", "GET", "/dialog/oauth"): ("dialog", self._dialog),
            ("graph", "GET", "/oauth/access_token"): ("access_token", self._access_token),
            ("graph", "GET", "/debug_token"): ("debug_token", self._debug_token),
            ("graph", "GET", "/oauth/revoke"): ("revoke", self._revoke),
            ("graph", "DELETE", "/me/permissions"): ("permissions", self._permissions),
        }

    async def __aenter__(self) -> Self:
        await self._sockets.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._sockets.__aexit__(*error)

    @property
    def endpoints(self) -> dict[str, str]:
        urls = self._sockets.urls
        return {
            "dialog_url": f"{urls['dialog']}{VERSION}/dialog/oauth",
            "graph_url": f"{urls['graph']}{VERSION}",
        }

    # ---- what a test does

    def pass_time(self, seconds: float) -> None:
        """Have all that was given out be older."""
        self.elapsed += seconds
        for token in self.tokens.values():
            token.expires_at -= seconds if token.expires_at else 0
            token.data_access_expires_at -= seconds if token.data_access_expires_at else 0
        for code in self.codes.values():
            code.made_at -= seconds

    def issue(self, type: str = "SYSTEM_USER", lives: float = LONG, **known: Any) -> str:
        """Return a new token that lives so many seconds, 0 for ever."""
        token = Token(type, "88", time.time() + lives if lives else 0, app_id=self.app_id)
        return self._given(replace(token, **known))

    def sign_up(self, lives: float = 0, **known: Any) -> str:
        """Return what Meta's script gives the page after an Embedded Signup."""
        token = Token("SYSTEM_USER", "99", time.time() + lives if lives else 0, app_id=self.app_id)
        return self._code(replace(token, **known), None)

    def kill(self, subcode: int) -> None:
        """End every token, for the reason that *subcode* stands for."""
        for token in self.tokens.values():
            token.dead = subcode

    def calls(self, *names: str) -> list[Line]:
        return [line for line in self.ledger if line.call in names]

    # ---- requests

    def _answer(self, host: str, request: Request) -> Answer | None:
        path = request.path.removeprefix(VERSION) if request.path.startswith(f"{VERSION}/") else ""
        name, handle = self._calls.get((host, request.method, path), ("unknown", self._unknown))
        if name == "unknown" or request.body or request.all("authorization"):
            self.misfits.append(f"{request.method} {host} {request.path}")
        answer = self._handled(handle, request)
        instead = self.faults[name].popleft() if self.faults[name] else answer
        self.ledger.append(Line(name, self.elapsed, None if instead is None else instead.status))
        return instead

    def _handled(self, handle: Callable[[Params], Answer], request: Request) -> Answer:
        try:
            return handle(request.params())
        except Refusal as refusal:
            return json_answer(refusal.body, refusal.status)

    def _unknown(self, params: Params) -> Answer:
        raise Refusal(2500, "Unknown path components", status=404)

    def _exactly(self, params: Params, *names: str) -> None:
        if set(params) != set(names):
            self.misfits.append(f"{sorted(params)} where {sorted(names)} are due")
            raise Refusal(100, "Invalid parameter")

    def _dialog(self, params: Params) -> Answer:
        asks = "config_id" if "config_id" in params else "scope"
        self._exactly(params, "client_id", "redirect_uri", "state", "response_type", asks)
        scopes = tuple(params.get("scope", f"{MANAGE},{MESSAGE}").split(","))
        known = set(scopes) <= {MANAGE, MESSAGE, "business_management"}
        if (params["client_id"], params["response_type"], known) != (self.app_id, "code", True):
            self.misfits.append("the dialog does not know its parameters")
            return Answer(400)
        if self.signup is not None and params.get("config_id") == self.signup:
            back = {"code": self.sign_up()}
        elif self.denies:
            back = {"error": "access_denied", "error_code": "200", "error_reason": "user_denied"}
        else:
            at = time.time()
            ends = {name: getattr(self.person, name) for name in ("expires_at", "data_access_expires_at")}
            ends = {name: at + after if after else 0 for name, after in ends.items()}
            token = replace(self.person, **ends, scopes=scopes, app_id=self.app_id)
            back = {"code": self._code(token, params["redirect_uri"])}
        back["state"] = params["state"]
        return Answer(302, {"Location": f"{params['redirect_uri']}?{urlencode(back)}"})

    def _access_token(self, params: Params) -> Answer:
        if "code" in params:
            return self._redeem(params)
        old = self.tokens.get(params.get("fb_exchange_token", ""))
        sixty = ["set_token_expires_in_60_days"] if old and old.type == "SYSTEM_USER" else []
        self._exactly(params, "grant_type", "client_id", "client_secret", "fb_exchange_token", *sixty)
        self._authenticate(params)
        if params["grant_type"] != "fb_exchange_token" or (sixty and params[sixty[0]] != "true"):
            self.misfits.append("an exchange by another name")
            raise Refusal(100, "Invalid parameter")
        if old is None or self.why_dead(old) is not None:
            raise Refusal(190, "The token is over", None if old is None else self.why_dead(old))
        new = self._given(replace(old, expires_at=time.time() + LONG))
        lives = {"expires_in": LONG} if self.tells_expiry else {}
        return json_answer({"access_token": new, "token_type": "bearer", **lives})

    def _redeem(self, params: Params) -> Answer:
        code = self.codes.get(params["code"])
        sent = [] if code is None or code.redirect_uri is None else ["redirect_uri"]
        self._exactly(params, "client_id", "client_secret", "code", *sent)
        self._authenticate(params)
        if code is None:
            raise Refusal(100, "This authorization code has been used.", 36009)
        del self.codes[params["code"]]
        if time.time() - code.made_at > CODE_LIVES:
            raise Refusal(100, "This authorization code has expired.", 36007)
        if code.redirect_uri != params.get("redirect_uri"):
            raise Refusal(100, "Error validating verification code.", 36008)
        body: dict[str, Any] = {"access_token": self._given(code.token)}
        if code.redirect_uri is not None:
            body |= {"token_type": "bearer", "expires_in": int(code.token.expires_at - time.time())}
        return json_answer(body)

    def _debug_token(self, params: Params) -> Answer:
        self._exactly(params, "input_token", "access_token", "appsecret_proof")
        if params["access_token"] != f"{self.app_id}|{self.app_secret}":
            raise Refusal(190, "Invalid OAuth access token signature.")
        self._check_proof(params)
        token = self.tokens.get(params["input_token"])
        if token is not None and token.app_id != self.app_id:
            raise Refusal(100, "(#100) The App_id in the input_token did not match the Viewing App")
        if token is None or (why := self.why_dead(token)) is not None:
            error = {"code": 190, "message": "Error validating access token", "subcode": token and why}
            return json_answer({"data": {"is_valid": False, "error": error, "scopes": []}})
        granular = [{"scope": scope, "target_ids": list(token.targets)} for scope in token.scopes]
        return json_answer(
            {
                "data": {
                    "app_id": token.app_id,
                    "type": token.type,
                    "application": "Acme",
                    "data_access_expires_at": int(token.data_access_expires_at),
                    "expires_at": int(token.expires_at),
                    "is_valid": True,
                    "scopes": list(token.scopes),
                    "granular_scopes": granular,
                    "user_id": token.user_id,
                }
            }
        )

    def _revoke(self, params: Params) -> Answer:
        names = ("client_id", "client_secret", "revoke_token", "access_token", "appsecret_proof")
        self._exactly(params, *names)
        self._authenticate(params)
        self._check_proof(params)
        token = self.tokens[params["revoke_token"]]
        if token.type != "SYSTEM_USER":
            raise Refusal(100, "Invalid parameter")
        token.dead = 466
        return json_answer({"success": True})

    def _permissions(self, params: Params) -> Answer:
        self._exactly(params, "access_token", "appsecret_proof")
        self._check_proof(params)
        user = self.tokens[params["access_token"]].user_id
        for token in self.tokens.values():
            if token.user_id == user:
                token.dead = 458
        return json_answer({"success": True})

    # ---- what it knows

    def _authenticate(self, params: Params) -> None:
        if params["client_id"] != self.app_id:
            raise Refusal(101, "Error validating application. Cannot get application info.")
        if params["client_secret"] != self.app_secret:
            raise Refusal(1, "Error validating client secret.")

    def _check_proof(self, params: Params) -> None:
        made = hmac.new(self.app_secret.encode(), params["access_token"].encode(), hashlib.sha256).hexdigest()
        if params["appsecret_proof"] != made:
            self.misfits.append("a proof of another token")
            raise Refusal(100, "Invalid appsecret_proof provided in the API argument")

    def why_dead(self, token: Token) -> int | None:
        if token.dead is not None:
            return token.dead
        return 463 if token.expires_at and token.expires_at <= time.time() else None

    def _given(self, token: Token) -> str:
        value = f"EAA-canary-{next(self._numbers)}"
        self.tokens[value] = token
        return value

    def _code(self, token: Token, redirect_uri: str | None) -> str:
        value = f"AQ-canary-{next(self._numbers)}"
        self.codes[value] = Code(token, redirect_uri, time.time())
        return value
