"""The sandbox: an authorization server to try the vault with, which needs nothing but a key.

It is stateless: whatever it must know again (a form, a code, a token) is signed and handed out, so
any replica answers and a restart forgets nothing. The price is that it cannot tell a first use from
a second: a code can be redeemed again within its minute, and revoking changes nothing.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from httpx import Response

from integrations.answers import read_tokens
from integrations.contract import Answer, Secret, TokenSet
from integrations.definition import Definition
from integrations.oauth import OAuthProvider

CLIENT_ID = "sandbox-client"  # ours; any other client_id is as good, with the same secret
ACCOUNT = "sandbox-user"  # unless the person types another name
FORM, CODE, ACCESS, REFRESH = 600, 60, 300, 31_536_000  # seconds that each of them works

_LONGEST_BODY = 65_536
_EXPIRES = re.compile(r"(?<!\S)expires:([1-9][0-9]{0,4})(?!\S)")  # the scope that asks for another ACCESS
_KEPT = ("client_id", "redirect_uri", "state", "scope", "nonce", "code_challenge")

_STYLE = "body{font:1em system-ui;max-width:26rem;margin:auto;padding:4rem 1rem}input,button{font:inherit}"
# No form-action: Chromium holds the whole chain of redirects to it, which may end at a tenant's return_url.
_POLICY = (
    f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Fields = Mapping[str, str]
Claims = Mapping[str, Any]


def provider(public_url: str) -> OAuthProvider:
    """Return the sandbox as the vault knows it."""
    issuer = f"{public_url}/sandbox"
    definition = Definition(
        name="Sandbox",
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        revocation_endpoint=f"{issuer}/revoke",
        revocation_scope="token",  # it knows of no others
        userinfo_endpoint=f"{issuer}/userinfo",
        scopes=("openid", "profile"),
        authorization_response_iss_parameter_supported=True,
        # Each refresh gives a new refresh token, and yet consumes none: a server that remembers
        # nothing cannot know that the old one was used, so using it again is harmless, for good.
        rotation="never",
        default_lifetime=ACCESS,
    )
    return OAuthProvider("sandbox", definition)


def client_secret(key: bytes) -> Secret:
    """Return the client secret that the sandbox of this *key* expects."""
    return Secret(f"sandbox-cs-{_mac(key, 'sandbox-cs')}")


def application(
    public_url: str, key: bytes, now: Callable[[], float] = time.time
) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Return the ASGI application of `{public_url}/sandbox/…`: mounted there, or asked by whole paths."""
    return _Sandbox(public_url, key, now).serve


def tokens(public_url: str, key: bytes) -> TokenSet:
    """Return what ACCOUNT would have got by approving just now: a connection without a person."""
    scope = " ".join(provider(public_url).default_scopes)
    grant = {"client_id": CLIENT_ID, "sub": ACCOUNT, "scope": scope}
    answer = _Sandbox(public_url, key, time.time).token_set(grant)
    return read_tokens(Answer(200, body=json.dumps(answer).encode()))


class _Sandbox:
    """Every answer is a function of the request's fields, its Authorization header, the key and the clock."""

    def __init__(self, public_url: str, key: bytes, now: Callable[[], float]) -> None:
        self._base, self._issuer = urlsplit(public_url).path, f"{public_url}/sandbox"
        # One plain segment: a code goes to a callback of the vault, and nowhere that `..` leads to.
        callback = re.escape(f"{public_url}/oauth/callback/")
        self._callback = re.compile(callback + r"[A-Za-z0-9][A-Za-z0-9._~@-]*")
        self._key, self._now = key, now
        self._routes: dict[tuple[str, str], Callable[[Fields, str], Response]] = {
            ("GET", "/authorize"): self._ask,
            ("POST", "/authorize"): self._decide,
            ("POST", "/token"): self._token,
            ("POST", "/revoke"): self._revoke,
            ("GET", "/userinfo"): self._account,
            ("GET", "/resource"): self._account,
        }

    async def serve(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # nothing to start, and no websockets
            return
        sent = await _body(receive) if scope["method"] == "POST" else scope["query_string"]
        # Litestar takes its mount's path away and adds a slash at the end; httpx sends the whole path.
        path = scope["path"].removeprefix(self._base).removeprefix("/sandbox").removesuffix("/")
        route = self._routes.get((scope["method"], path))
        fields = dict(parse_qsl(sent.decode("latin-1"), keep_blank_values=True))
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        answer = route(fields, authorization) if route else _error("not_found", 404)
        headers = [(name.lower(), value) for name, value in answer.headers.raw]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})

    # ---- the person's browser

    def _ask(self, asked: Fields, _authorization: str) -> Response:
        if not asked.get("client_id") or not self._callback.fullmatch(asked.get("redirect_uri", "")):
            return _page("<p>The client_id or the redirect_uri of this request is no good here.</p>", 400)
        if asked.get("response_type") != "code":
            return self._back(asked, error="unsupported_response_type")
        if asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge"):
            return self._back(asked, error="invalid_request")
        kept = {name: asked.get(name, "") for name in _KEPT}
        return _page(_form(kept, self._signed("form", kept, FORM)))

    def _decide(self, sent: Fields, _authorization: str) -> Response:
        asked = self._opened("form", sent.get("request", ""))
        if asked is None:
            return _page("<p>This form is too old, or not ours. Please start again.</p>", 400)
        if sent.get("choice") != "approve":
            return self._back(asked, error="access_denied")
        account = sent.get("account", "").strip()[:64] or ACCOUNT
        return self._back(asked, code=self._signed("code", {**asked, "sub": account}, CODE))

    def _back(self, asked: Fields, **result: str) -> Response:
        state = {"state": asked["state"]} if asked.get("state") else {}
        query = urlencode({**result, **state, "iss": self._issuer})
        return Response(303, headers={"Location": f"{asked['redirect_uri']}?{query}"})

    # ---- the client

    def _token(self, sent: Fields, authorization: str) -> Response:
        client_id = self._client(sent, authorization)
        if client_id is None:
            return _error("invalid_client", 401, 'Basic realm="sandbox"')
        if sent.get("grant_type") == "authorization_code":
            grant = self._redeemed(sent)
        elif sent.get("grant_type") == "refresh_token":
            grant = self._opened("rt", sent.get("refresh_token", ""))
        else:
            return _error("unsupported_grant_type")
        if grant is None or grant["client_id"] != client_id:
            return _error("invalid_grant")
        return Response(200, json=self.token_set(grant))

    def _client(self, sent: Fields, authorization: str) -> str | None:
        pair = _basic(authorization) if authorization else (sent.get("client_id"), sent.get("client_secret"))
        return pair[0] if Secret(pair[1] or "") == client_secret(self._key) else None

    def _redeemed(self, sent: Fields) -> Claims | None:
        code = self._opened("code", sent.get("code", ""))
        if code is None or sent.get("redirect_uri") != code["redirect_uri"]:
            return None
        challenge = _base64url(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        return code if challenge == code["code_challenge"] else None

    def token_set(self, grant: Claims) -> dict[str, Any]:
        lasting = {name: grant[name] for name in ("client_id", "sub", "scope")}
        asked = _EXPIRES.search(grant["scope"])
        lives = int(asked[1]) if asked else ACCESS
        tokens = {
            "access_token": self._signed("at", lasting, lives),
            "token_type": "Bearer",
            "expires_in": lives,
            "refresh_token": self._signed("rt", lasting, REFRESH),
            "refresh_token_expires_in": REFRESH,
            "scope": grant["scope"],
        }
        if "openid" in grant["scope"].split():
            tokens["id_token"] = self._id_token(grant, lives)
        return tokens

    def _id_token(self, grant: Claims, lives: int) -> str:
        times = {"iat": int(self._now()), "exp": int(self._now()) + lives}
        whose = {"iss": self._issuer, "aud": grant["client_id"], "sub": grant["sub"], "name": grant["sub"]}
        nonce = {"nonce": grant["nonce"]} if grant.get("nonce") else {}  # a refresh has none
        text = _packed({"alg": "HS256", "typ": "JWT"}) + "." + _packed({**whose, **times, **nonce})
        return f"{text}.{_mac(client_secret(self._key).reveal().encode(), text)}"

    def _revoke(self, sent: Fields, authorization: str) -> Response:
        if self._client(sent, authorization) is None:
            return _error("invalid_client", 401, 'Basic realm="sandbox"')
        return Response(200, json={"note": "Nothing is remembered here: the token works until it expires."})

    def _account(self, _sent: Fields, authorization: str) -> Response:
        scheme, _, token = authorization.partition(" ")
        claims = self._opened("at", token) if scheme.lower() == "bearer" else None
        if claims is None:
            return _error("invalid_token", 401, 'Bearer error="invalid_token"')
        return Response(200, json={"sub": claims["sub"], "name": claims["sub"]})

    # ---- what is signed: `sandbox-{word}-{claims}.{mac}`, with the word under the mac

    def _signed(self, word: str, claims: Claims, lives: int) -> str:
        unique = {"exp": int(self._now()) + lives, "id": secrets.token_hex(8)}
        text = f"sandbox-{word}-{_packed({**claims, **unique})}"
        return f"{text}.{_mac(self._key, text)}"

    def _opened(self, word: str, token: str) -> Claims | None:
        text, _, mac = token.rpartition(".")
        prefix = f"sandbox-{word}-"
        if not text.startswith(prefix) or Secret(mac) != Secret(_mac(self._key, text)):
            return None
        claims: Claims = json.loads(base64.urlsafe_b64decode(text.removeprefix(prefix) + "=="))
        return claims if self._now() < claims["exp"] else None


def _basic(authorization: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(authorization.partition(" ")[2]).decode()
    except ValueError:
        return "", ""
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)  # RFC 6749 section 2.3.1


def _form(asked: Fields, request: str) -> str:
    return f"""<p><strong>{escape(asked["client_id"])}</strong> asks for access to a made-up account.</p>
<p>Scopes: {escape(asked["scope"]) or "none"}</p>
<form method="post">
<input type="hidden" name="request" value="{escape(request)}">
<p><label>Account <input name="account" value="{ACCOUNT}" maxlength="64" autocomplete="off"></label></p>
<button name="choice" value="approve">Approve</button>
<button name="choice" value="deny">Deny</button>
</form>"""


def _page(body: str, status: int = 200) -> Response:
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox</title><style>{_STYLE}</style><main><h1>Sandbox</h1>
{body}</main></html>"""
    return Response(status, html=page, headers={"Content-Security-Policy": _POLICY})


def _error(code: str, status: int = 400, challenge: str | None = None) -> Response:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    return Response(status, json={"error": code}, headers=headers)


def _mac(key: bytes, text: str) -> str:
    return _base64url(hmac.digest(key, text.encode(), "sha256"))


def _packed(claims: Claims) -> str:
    return _base64url(json.dumps(claims).encode())


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


async def _body(receive: Receive) -> bytes:
    """Return what was sent; of something far too long, its beginning."""
    body, more = b"", True
    while more and len(body) < _LONGEST_BODY:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body
