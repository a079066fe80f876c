"""The state machine: codes, token families, and what using one of them does to the others."""

import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.provider.config import BadControl, Config
from tests.provider.tokens import AccessToken, Code, Family, GrantError, Issue, RefreshToken

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1


class Record(Protocol):
    def __call__(self, event: str, **fields: Any) -> None: ...


@dataclass
class Grants:
    """Synchronous on purpose: nothing can come between looking at a token and consuming it."""

    config: Config
    record: Record
    codes: dict[str, Code] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)
    access_tokens: dict[str, AccessToken] = field(default_factory=dict)

    def new_code(self, **fields: Any) -> Code:
        value = f"canary-code-{secrets.token_urlsafe(24)}"
        code = Code(value=value, expires_at=time.time() + self.config.code_lifetime, **fields)
        self.codes[value] = code
        return code

    def redeem(self, value: str, *, client_id: str, redirect_uri: str | None, verifier: str | None) -> Issue:
        code = self._present(value, client_id)
        if redirect_uri not in (None, code.redirect_uri):
            raise GrantError("invalid_grant", "redirect_uri is not the one of the authorization request")
        if not _fits(verifier, code.challenge):
            raise GrantError("invalid_grant", "code_verifier does not match")
        code.family = self.new_family(client_id, code.subject, code.scope, code.nonce)
        self.record("code_redeemed", code=value, family=code.family.id)
        return self.issue(code.family, via="code", with_refresh=self.config.issue_refresh_token and code.offline)

    def _present(self, value: str, client_id: str) -> Code:
        """Use up a code: whatever is wrong with the rest of the request, it is not accepted again."""
        code = self.codes.get(value)
        if code is None or code.client_id != client_id:
            raise GrantError("invalid_grant", "unknown code")
        if code.presented:
            self._code_reused(code)
        code.presented = True
        if code.expires_at <= time.time():
            raise GrantError("invalid_grant", "the code has expired")
        return code

    def _code_reused(self, code: Code) -> None:
        # RFC 6749 section 4.1.2: deny, and revoke all that was issued from it.
        family = code.family.id if code.family is not None else None
        self.record("code_reused", code=code.value, family=family)
        if code.family is not None:
            self.revoke(code.family, "code reused")
        raise GrantError("invalid_grant", "the code was presented before", family)

    def refresh(self, value: str, *, client_id: str, scope: str | None = None) -> Issue:
        token = self._refresh_token_of(value, client_id)
        family = token.family
        replayed = token.consumed_at is not None and self._replay(token)
        if family.revoked:
            raise GrantError("invalid_grant", "the grant was revoked", family.id)
        self._check_lifetime(token)
        narrowed = self._narrow(family, scope)
        if self.config.rotation == "never":
            return self.issue(family, via="refresh", with_refresh=False, scope=narrowed)
        if replayed and self.config.rotation == "grace" and self.config.grace_answer == "same":
            return self._same_successor(token, narrowed)
        return self._rotate(token, narrowed)

    def of_client(self, client_id: str, scope: str | None) -> Issue:
        """RFC 6749 section 4.4: the client's own access, without a refresh token."""
        if self.config.clients[client_id] is None:
            raise GrantError("unauthorized_client", "a public client has no access of its own")
        wanted = " ".join(self.config.scopes_supported) if scope is None else scope
        if not set(wanted.split()) <= set(self.config.scopes_supported):
            raise GrantError("invalid_scope", "unknown scope")
        family = self.new_family(client_id, client_id, wanted)
        return self.issue(family, via="client_credentials", with_refresh=False)

    def of_assertion(self, client_id: str, subject: str, scope: str | None) -> Issue:
        """RFC 7523 section 2.1: what a signed assertion is good for, without a refresh token."""
        wanted = " ".join(self.config.scopes_supported) if scope is None else scope
        if not set(wanted.split()) <= set(self.config.scopes_supported):
            raise GrantError("invalid_scope", "unknown scope")
        family = self.new_family(client_id, subject, wanted)
        return self.issue(family, via="jwt_bearer", with_refresh=False)

    def _refresh_token_of(self, value: str, client_id: str) -> RefreshToken:
        token = self.refresh_tokens.get(value)
        if token is None:
            raise GrantError("invalid_grant", "unknown refresh token")
        if token.family.client_id != client_id:
            raise GrantError("invalid_grant", "issued to another client", token.family.id)
        return token

    def _replay(self, token: RefreshToken) -> bool:
        """A consumed token came again: forgiven, or taken for theft."""
        assert token.consumed_at is not None
        where = {"family": token.family.id, "serial": token.serial, "refresh_token": token.value}
        age = time.time() - token.consumed_at
        forgiving = self.config.rotation in ("lax", "never")
        in_grace = self.config.rotation == "grace" and age < self.config.grace_seconds
        if not token.family.revoked and (forgiving or in_grace):
            self.record("replayed", **where)
            return True
        self.record("reused", **where)
        self.revoke(token.family, "refresh token reused")
        raise GrantError("invalid_grant", "the refresh token was used before", token.family.id)

    def _check_lifetime(self, token: RefreshToken) -> None:
        limit = self.config.refresh_lifetime
        if limit is not None and time.time() - token.issued_at >= limit:
            raise GrantError("invalid_grant", "the refresh token has expired", token.family.id)

    def _narrow(self, family: Family, scope: str | None) -> str:
        if scope is None:
            return family.scope
        if not set(scope.split()) <= set(family.scope.split()):
            raise GrantError("invalid_scope", "more than was granted", family.id)
        return scope

    def _rotate(self, token: RefreshToken, scope: str) -> Issue:
        if token.consumed_at is None:
            token.consumed_at = time.time()
            self.record("consumed", family=token.family.id, serial=token.serial, refresh_token=token.value)
        issue = self.issue(token.family, via="refresh", scope=scope)
        if token.successor is None and issue.refresh_token is not None:
            token.successor = self.refresh_tokens[issue.refresh_token]
        return issue

    def _same_successor(self, token: RefreshToken, scope: str) -> Issue:
        assert token.successor is not None
        return self.issue(token.family, via="refresh", scope=scope, successor=token.successor.value)

    def new_family(self, client_id: str, subject: str, scope: str, nonce: str | None = None) -> Family:
        family = Family(f"family-{len(self.families) + 1}", client_id, subject, scope, nonce)
        self.families[family.id] = family
        return family

    def issue(
        self,
        family: Family,
        *,
        via: str,
        scope: str | None = None,
        with_refresh: bool = True,
        successor: str | None = None,
        lifetime: int | None = None,
    ) -> Issue:
        family.serial += 1
        lifetime = self.config.access_lifetime if lifetime is None else lifetime
        access = self._new_access_token(family, family.scope if scope is None else scope, lifetime)
        refresh_token = successor or (self._new_refresh_token(family) if with_refresh else None)
        self.record(
            "issued",
            family=family.id,
            serial=family.serial,
            via=via,
            client_id=family.client_id,
            subject=family.subject,
            scope=access.scope,
            access_token=access.value,
            access_expires_at=access.expires_at,
            refresh_token=refresh_token,
        )
        return Issue(family, family.serial, access, lifetime, refresh_token)

    def _new_access_token(self, family: Family, scope: str, lifetime: int) -> AccessToken:
        value = f"canary-at-{family.id}-{family.serial}-{secrets.token_urlsafe(16)}"
        token = AccessToken(value, family, scope, time.time() + lifetime)
        self.access_tokens[value] = token
        return token

    def _new_refresh_token(self, family: Family) -> str:
        value = f"canary-rt-{family.id}-{family.serial}-{secrets.token_urlsafe(24)}"
        self.refresh_tokens[value] = RefreshToken(value, family, family.serial, time.time())
        return value

    def revoke(self, family: Family, reason: str) -> None:
        if not family.revoked:
            family.revoked = True
            self.record("family_revoked", family=family.id, reason=reason)

    def revoke_token(self, value: str, *, client_id: str) -> str | None:
        """RFC 7009: a refresh token takes its family along; an unknown one is fine. Tells the family."""
        token = self.refresh_tokens.get(value) or self.access_tokens.get(value)
        if token is None:
            return None
        if token.family.client_id != client_id:
            raise GrantError("invalid_grant", "issued to another client", token.family.id)
        if isinstance(token, AccessToken):
            self.kill_access(value)
        else:
            self.revoke(token.family, "revocation endpoint")
        return token.family.id

    def kill_access(self, value: str) -> None:
        if value not in self.access_tokens:
            raise BadControl("unknown access token")
        self.access_tokens[value].revoked = True
        self.record("access_revoked", access_token=value, family=self.access_tokens[value].family.id)

    def alive(self, value: str) -> AccessToken | None:
        token = self.access_tokens.get(value)
        return token if token is not None and token.alive else None


def _fits(verifier: str | None, challenge: str | None) -> bool:
    """Without a challenge there must be no verifier: it would be a downgrade (RFC 9700 section 4.8.2)."""
    if verifier is None or challenge is None:
        return verifier is None and challenge is None
    return _VERIFIER.fullmatch(verifier) is not None and _s256(verifier) == challenge


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
