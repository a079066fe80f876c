"""A Voicenter that is stricter than the real one: its call log, and its login API on both stacks.

Sources: see `integrations/voicenter/provider.py`.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.fake import FakeVendor, Strange, bearer_of, json_body

CALL_LOG = "/api.voicenter.com/hub/cdr/"
OLD = "/loginapi.voicenter.co.il/monitorAPI"
NEW = "/loginapi.voicenter.com"
DATE = "%Y-%m-%dT%H:%M:%S"
SIGNS = OctKey.import_key("canary-signing-key-of-voicenters-own")

Dates = Literal["zoned", "naive", "none"]


def call_log(error: object, status: int, description: str = "No") -> Answer:
    """Return an answer of the call log, which found no calls."""
    body = {"ERROR_NUMBER": error, "ERROR_DESCRIPTION": description, "STATUS_CODE": status}
    return json_answer({**body, "TOTAL_HITS": 0, "RETURN_HITS": 0, "CDR_LIST": []}, status)


def refusal(status: int, code: int | None = None) -> Answer:
    """Return a refusal of the login API, whose own word for it may be another one than HTTP's."""
    return json_answer({"StatusCode": code or status, "Status": "No", "Data": None}, status)


class FakeVoicenter(FakeVendor):
    """One organisation: its *codes*, its *users* and their passwords, its *login_tokens*.

    *here* says whether the address of whoever asks is authorised, *lifetime* how many seconds tokens live, *dates*
    how the old stack says so, *jwt* whether the new one does.
    """

    vendor = "voicenter"

    def __init__(self) -> None:
        super().__init__()
        self.codes = set[str]()
        self.users: dict[str, str] = {}
        self.login_tokens = set[str]()
        self.refresh_tokens: dict[str, str] = {}  # what is living of them, and of which stack
        self.tokens = set[str]()
        self.here = True
        self.lifetime = 3600
        self.dates: Dates = "zoned"
        self.jwt = True
        self._number = 0

    def answer(self, request: Request) -> Answer:
        calls: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", CALL_LOG): self._call_log,
            ("POST", f"{OLD}/Login/Token"): lambda one: self._by_token(one, {"token"}, "old"),
            ("POST", f"{OLD}/Login/User"): lambda one: self._by_user(one, ("email", "pin"), "old"),
            ("GET", f"{OLD}/RefreshIdentityToken"): lambda one: self._refreshed(one, "old"),
            ("POST", f"{NEW}/Auth/Login/Voicenter/Monitor"): self._new_login,
            ("GET", f"{NEW}/Auth/RefreshToken"): lambda one: self._refreshed(one, "new"),
            ("GET", f"{NEW}/Application/GetSettings"): self._settings,
        }
        if request.query or (request.method, request.path) not in calls:
            raise Strange("no such call")
        return calls[request.method, request.path](request)

    def paths(self) -> list[str]:
        """Return the last word of each address that was asked, in order."""
        return [request.path.rstrip("/").rpartition("/")[2] for request in self.ledger]

    def forget_sessions(self) -> None:
        """Let no refresh token be good any more."""
        self.refresh_tokens.clear()

    def _call_log(self, request: Request) -> Answer:
        body = json_body(request, {"code", "fields", "search", "sort"})
        if not self.here:
            return call_log(4, 403)
        if body["code"] not in self.codes:
            return call_log(2, 403)
        begin, end = (_in_utc(body["search"][name]) for name in ("fromdate", "todate"))
        if end - begin != timedelta(minutes=1) or end > datetime.now(UTC):
            return call_log(5, 404)
        return call_log(0, 200, "OK")

    def _new_login(self, request: Request) -> Answer:
        if json.loads(request.body).get("identityType") == "Token":
            return self._by_token(request, {"identityType", "token"}, "new")
        return self._by_user(request, ("username", "password"), "new", "identityType")

    def _by_token(self, request: Request, names: set[str], stack: str) -> Answer:
        body = json_body(request, names)
        return self._session(stack) if body["token"] in self.login_tokens else refusal(401)

    def _by_user(self, request: Request, names: tuple[str, str], stack: str, *more: str) -> Answer:
        body = json_body(request, {*names, *more})
        user, password = (body[name] for name in names)
        if body.get("identityType", "User") != "User":
            raise Strange("an identity of another type")
        return self._session(stack) if self.users.get(user) == password else refusal(401)

    def _refreshed(self, request: Request, stack: str) -> Answer:
        """Rotate a refresh token: the one that came is no good any more."""
        if self.refresh_tokens.pop(bearer_of(request), None) != stack:
            return refusal(401)
        return self._session(stack)

    def _session(self, stack: str) -> Answer:
        self._number += 1
        refresh = f"canary-refresh-{self._number}"
        self.refresh_tokens[refresh] = stack
        token = self._token(stack)
        self.tokens.add(token)
        data = self._of_old(token, refresh) if stack == "old" else {"AccessToken": token, "RefreshToken": refresh}
        return json_answer({"StatusCode": 200, "Status": "OK", "Data": data})

    def _token(self, stack: str) -> str:
        if stack == "old" or not self.jwt:
            return f"canary-token-{self._number}"
        ends = int(time.time()) + self.lifetime
        return jwt.encode({"alg": "HS256"}, {"exp": ends, "n": self._number}, SIGNS)

    def _of_old(self, token: str, refresh: str) -> dict[str, Any]:
        socket = {
            "Client": "acme",
            "PersonId": 4711,
            "Token": token,
            "TokenExpiry": self._date(self.lifetime),
            "RefreshToken": refresh,
            "RefreshTokenExpiry": self._date(30 * 86_400),
            "Url": "https://monitor5.voicenter.co.il",
            "URLList": [],
            "Version": "1.3.7",
        }
        return {"Socket": socket}

    def _date(self, seconds: int) -> str | None:
        """Return when *seconds* are over: in Israel's winter time, with its zone or as UTC without a word."""
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        if self.dates == "none":
            return None
        if self.dates == "naive":
            return ends.strftime(DATE)
        return ends.astimezone(timezone(timedelta(hours=2))).isoformat()

    def _settings(self, request: Request) -> Answer:
        if bearer_of(request) not in self.tokens:
            return refusal(401)
        phone = {"domain": "sip.voicenter.co", "extension_user": "7", "extension_pass": "canary-sip-password"}
        return json_answer(
            {
                "IdentityCode": "canary-identity",
                "IdentityCodeExpiry": self._date(3600),
                "PersonID": 4711,
                "PersonType": 1,
                "MonitorList": [],
                "WebRTCData": phone,
            }
        )


def _in_utc(date: str) -> datetime:
    """Return the moment of a *date* that names no zone. Raises ValueError for any other."""
    return datetime.strptime(f"{date}Z", f"{DATE}%z")
