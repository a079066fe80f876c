"""One example of everything that is sent, answered and refused. No secret in it is one, or looks like one."""

from typing import Any

from vault.http.problems import titled
from vault.http.views.audit import RecordList
from vault.http.views.callers import CallerList, CallerView, CreateCaller, CreatedCaller
from vault.http.views.client_tokens import ClientTokenBody, ClientTokenView
from vault.http.views.clients import ClientView, PutClient
from vault.http.views.connections import (
    AuthorizeBody,
    ConnectionList,
    ConnectionView,
    ConnectLink,
    Deleted,
    DeviceBody,
    DeviceCode,
    PatchConnection,
    PutConnection,
    RejectionBody,
    TokenView,
)
from vault.http.views.health import Health
from vault.http.views.providers import ProviderList, ProviderView, PutProvider
from vault.http.views.tenants import OffboardingReport, PatchTenant, PutTenant, TenantList, TenantView
from vault.http.views.usage import UsageList

CONNECT_URL = "https://vault.example.com/connect/…"
_CURSOR = "WyJhY21lIl0"
_SOURCE = {"tenant": "acme", "provider": "google", "name": "default"}
_SCOPES = ["openid", "https://www.googleapis.com/auth/calendar.readonly"]
_CALLER = {"name": "calendar-sync", "scopes": ["tokens:read"], "tenant": "acme"}
_CONNECTION = {
    **_SOURCE,
    "kind": "oauth2",
    "status": "verified",
    "next_action": "none",
    "enabled": True,
    "prefer": "own",
    "shared": False,
    "generation": 17,
    "renewal": "refresh_token",
    "scopes": _SCOPES,
    "metadata": {"customer": "4711"},
    "created_at": "2026-03-02T08:14:51Z",
    "account": "108204268033311374519",
    "account_label": "ada@example.com",
    "expires_at": "2026-11-22T20:39:05Z",
    "refreshed_at": "2026-11-22T19:39:06Z",
    "verified_at": "2026-11-22T19:39:06Z",
    "next_refresh_at": "2026-11-22T20:24:40Z",
}
_TENANT = {
    "inherit": True,
    "id": "acme",
    "name": "Acme",
    "parent": "platform",
    "return_urls": ["https://app.example.com/connected"],
}
_KIND = {
    "id": "oauth2",
    "label": "Consent",
    "how": "consent",
    "renewal": "refresh_token",
    "uses_client": True,
    "fields": [],
    "abilities": [],
}
_PROVIDER = {
    "id": "acme-id",
    "name": "Acme ID",
    "docs": "https://id.example.com/docs",
    "endpoints": {
        "authorization_endpoint": "https://id.example.com/authorize",
        "token_endpoint": "https://id.example.com/token",
    },
    "kinds": [_KIND],
    "fields": [],
    "renewal": "refresh_token",
}
EXAMPLES: dict[type, dict[str, Any]] = {
    TokenView: {
        "access_token": "ya29.…",
        "token_type": "Bearer",
        "authorization": "Bearer ya29.…",
        "expires_at": "2026-11-22T20:39:05Z",
        "expires_in": 3412,
        "scopes": _SCOPES,
        "generation": 17,
        "status": "verified",
        "source": _SOURCE,
    },
    ClientTokenBody: {"grants": {"voice": {"incoming": {"allow": True}}}, "ttl": 3600, "identity": "ada"},
    ClientTokenView: {
        "token": "eyJ….….…",
        "expires_at": "2026-11-22T20:39:05Z",
        "expires_in": 3600,
        "source": {**_SOURCE, "provider": "twilio"},
    },
    RejectionBody: {"generation": 17, "source": _SOURCE},
    AuthorizeBody: {"scopes": _SCOPES, "return_url": "https://app.example.com/connected"},
    ConnectLink: {"connect_url": CONNECT_URL, "expires_at": "2026-11-29T19:39:06Z"},
    PutConnection: {
        "credentials": {
            "access_token": "ya29.…",
            "refresh_token": "1//…",
            "expires_at": "2026-11-22T20:39:05Z",
        },
        "metadata": {"customer": "4711"},
    },
    PatchConnection: {"enabled": False, "metadata": {"customer": None}},
    PatchTenant: {"inherit": False},
    DeviceBody: {"scopes": _SCOPES},
    DeviceCode: {
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://id.example.com/device",
        "verification_uri_complete": "https://id.example.com/device?user_code=WDJB-MJHT",
        "expires_at": "2026-11-22T19:49:06Z",
        "interval": 5,
    },
    ConnectionView: _CONNECTION,
    ConnectionList: {"items": [_CONNECTION], "next": _CURSOR},
    Deleted: {"revoked": "revoked"},
    PutTenant: {"name": "Acme", "parent": "platform", "return_urls": ["https://app.example.com/connected"]},
    TenantView: _TENANT,
    TenantList: {"items": [_TENANT], "next": _CURSOR},
    OffboardingReport: {
        "complete": True,
        "tenants": 1,
        "connections": 2,
        "clients": 1,
        "callers": 1,
        "revocations": {"revoked": 1, "withheld": 1},
        "unrevoked": [{**_SOURCE, "revoked": "withheld"}],
    },
    RecordList: {
        "items": [
            {
                **_SOURCE,
                "at": "2026-11-22T19:42:13Z",
                "stream": "5f0c2e7d9a1b3c48",
                "seq": 4711,
                "actor": "caller:k3x7mq2ahd5n",
                "action": "token.handed_out",
                "outcome": "ok",
                "detail": {},
                "generation": 17,
                "request_id": "9d2c1f4e00000a3b",
            }
        ],
        "next": _CURSOR,
    },
    UsageList: {
        "items": [{**_SOURCE, "day": "2026-11-22", "source": "acme", "handed_out": 1440}],
        "next": _CURSOR,
    },
    PutClient: {"client_id": "acme-app", "client_secret": "…"},
    ClientView: {
        "tenant": "acme",
        "provider": "google",
        "client_id": "acme-app",
        "current": True,
        "state": "active",
        "created_at": "2026-03-02T08:14:51Z",
        "secrets": {
            "in_use": "current",
            "current": {"client_secret": True, "since": "2026-11-20T10:00:00Z"},
            "previous": {"client_secret": True, "since": "2026-03-02T08:14:51Z"},
        },
    },
    PutProvider: {"issuer": "https://id.example.com", "name": "Acme ID", "rotation": "strict"},
    ProviderView: _PROVIDER,
    ProviderList: {"items": [_PROVIDER], "next": _CURSOR},
    CreateCaller: {**_CALLER, "providers": ["google"], "expires_at": "2027-01-01T00:00:00Z"},
    CreatedCaller: {**_CALLER, "id": "k3v9x2m4q7ab", "key": "tv_k3v9x2m4q7ab_…"},
    CallerView: {**_CALLER, "id": "k3v9x2m4q7ab", "created_at": "2026-03-02T08:14:51Z"},
    CallerList: {"items": [{**_CALLER, "id": "k3v9x2m4q7ab"}], "next": _CURSOR},
    Health: {"status": "ready"},
}
# By code: what it says, and what else is in it.
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "invalid_request": (
        "The request is malformed.",
        {"errors": [{"field": "limit", "message": "Expected `int` <= 200"}]},
    ),
    "unauthenticated": ("The API key is missing, malformed, unknown, expired or revoked.", {}),
    "insufficient_scope": ("The API key lacks the scope of this call.", {"scope": "tokens:read"}),
    "request_refused": ("The provider refuses to give a code for this.", {"reason": "invalid_scope"}),
    "device_not_supported": ("This provider has no consent at another device.", {}),
    "client_in_use": ("Connections elsewhere were got with its registrations.", {}),
    "precondition_failed": ("Somebody has changed it meanwhile, or it is not there.", {}),
    "invalid_condition": ("If-Match takes entity tags, or *.", {"field": "If-Match"}),
    "invalid_filter": ("A filter is metadata.KEY=VALUE.", {"field": "metadata"}),
    "too_large": ("This is more than is kept with a connection.", {"field": "metadata"}),
    "paused_above": ("Somebody above has paused it: only from there can it be resumed.", {}),
    "invalid_private_key": (
        "Nothing can be signed with this private key.",
        {"field": "private_key", "reason": "key_malformed"},
    ),
    "invalid_span": ("Ask for a year at most.", {}),
    "not_found": ("There is nothing here that this API key may see.", {}),
    "body_too_large": ("A body may have 64 KiB at most.", {}),
    "unsupported_media_type": ("The body has to be application/json.", {}),
    "rate_limited": ("This API key asks more often than it may.", {"retry_after": 1}),
    "internal_error": ("This is a fault of the vault; the request id finds it in the log.", {}),
    "storage_unavailable": (
        "The database does not take this now.",
        {"retry_after": 2},
    ),
    "overloaded": ("Too many callers wait already.", {"retry_after": 1}),
    "not_ready": ("The database, its migrations or the keys are not right.", {"retry_after": 5}),
    # What a token request meets
    "not_connected": ("Nobody has connected this yet.", {"reason": "awaiting_consent"}),
    "disabled": ("This connection is switched off.", {}),
    "reconnect_required": (
        "A person has to connect this again.",
        {"reason": "grant_rejected", "connect_url": CONNECT_URL},
    ),
    "operator_required": ("A stored value does not open.", {}),
    "refresh_in_progress": ("A refresh is under way.", {"retry_after": 1}),
    "provider_unavailable": (
        "The provider gives no token now.",
        {"retry_after": 20, "reason": "transient"},
    ),
    "client_misconfigured": (
        "The provider refuses our client registration.",
        {"retry_after": 300, "reason": "client_rejected"},
    ),
    "no_client_tokens": ("Credentials of this kind sign no tokens for apps.", {}),
    "invalid_client_token": ("The provider takes no such token.", {"reason": "unknown_grant"}),
    "wrong_source": ("The token came from another connection.", {"field": "source"}),
    "unknown_generation": ("There are no tokens of this generation yet.", {}),
    # What is wrong with what was sent
    "invalid_name": ("This is no usable tenant.", {"field": "tenant"}),
    "invalid_cursor": ("This cursor is not one of ours.", {}),
    "invalid_url": ("token_endpoint must be an https address.", {"field": "token_endpoint"}),
    "invalid_moment": ("This moment is too far ahead.", {"field": "expires_at"}),
    "invalid_return_url": ("return_url is not one of the tenant's return_urls.", {}),
    "invalid_scope": ("Each scope must be one of: tokens:read, …", {}),
    "invalid_expiry": ("expires_at must lie ahead.", {}),
    "invalid_definition": ("This is no provider definition: …", {}),
    "invalid_field": ("This does not look like what the field asks for.", {"field": "api_key"}),
    "unknown_kind": ("This provider has no such kind.", {"field": "kind"}),
    "unknown_field": ("This kind has no such field.", {"fields": ["api_key"]}),
    "credentials_missing": ("A field is missing.", {"field": "api_key"}),
    "credentials_rejected": ("The provider refuses these credentials.", {"reason": "invalid_grant"}),
    # What contradicts what is stored
    "no_client": ("No client is registered for this provider.", {}),
    "refresh_token_uncertain": ("A refresh may have spent its refresh token.", {}),
    "not_able": ("Credentials of this kind cannot do that.", {"abilities": ["rotate"]}),
    "superseded": ("It was changed meanwhile: look, and try again.", {}),
    "work_in_progress": ("Somebody is at it already.", {"retry_after": 5}),
    "invalid_setting": ("Credentials of this kind cannot be rotated.", {"field": "rotate_every_days"}),
    "not_renewable": ("A person has to act first.", {"next_action": "reconnect"}),
    "tenant_is_root": ("The root of the tenants stays.", {}),
    "tenant_cycle": ("A tenant cannot stand under itself.", {}),
    "tenant_not_empty": ("Tenants, connections, clients or callers still belong to it.", {}),
    "provider_built_in": ("This provider is built in.", {}),
    "provider_in_use": ("Connections or clients exist at this provider.", {}),
    "discovery_failed": ("The issuer publishes no usable metadata.", {"reason": "no_metadata"}),
}


def problem(status: int, code: str) -> dict[str, Any]:
    """Return an example of the problem *code* under *status*."""
    detail, members = PROBLEMS[code]
    if status < 429:  # some codes are said of what may pass, and of what does not
        members = {name: value for name, value in members.items() if name != "retry_after"}
    about = {"type": "about:blank", "code": code, "title": titled(code), "status": status, "detail": detail}
    return {**about, "instance": "urn:request:5f1d7c2e00000042", **members}
