"""Google's service accounts: a key file that signs for itself, or for a user of its domain (RFC 7523)."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from integrations.answers import json_object, text
from integrations.assertions import JWT_BEARER, Signer, signer
from integrations.contract import Account, Field, Kind, Secret, Unreadable

BACKDATED = 10  # seconds, for a clock of ours that is a little ahead
LIFETIME = 3600  # seconds: the longest that Google takes
# Hosts that key files of different ages name in `token_uri`.
_HOSTS = frozenset({"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"})

KIND = Kind(
    id="service_account",
    label="Service account",
    how="enter",
    renewal="jwt_bearer",
    uses_client=False,
    fields=(
        Field(
            name="service_account_json",
            label="Key file (JSON)",
            multiline=True,
            help="Google Cloud console, IAM & Admin, Service Accounts, the account, Keys, Add key, JSON: "
            "the whole content of the file.",
        ),
        Field(
            name="scope",
            label="Scopes, separated by spaces",
            secret=False,
            pattern=r"[!#-\[\]-~]+( [!#-\[\]-~]+)*",
            help="For example https://www.googleapis.com/auth/drive.readonly.",
        ),
        Field(
            name="subject",
            label="User to act for",
            secret=False,
            required=False,
            pattern=r"[^\s@]+@[^\s@]+",
            help="Needs domain-wide delegation: Google Admin console, Security, API controls.",
        ),
    ),
)


@dataclass(frozen=True)
class KeyFile:
    """What of a key file counts. Its `token_uri` does not: an assertion goes to whom we know, or nowhere."""

    client_email: str
    project_id: str
    signer: Signer = field(repr=False)

    def account(self, subject: str | None) -> Account:
        label = f"{subject} by {self.client_email}" if subject else self.client_email
        return Account(f"{self.project_id}/{self.client_email}", label)


def read_key_file(content: Secret, hosts: Collection[str] = _HOSTS) -> KeyFile:
    """Return what is in a key file that signs for one of *hosts*. Raises Unreadable, without a word of it."""
    found = json_object(content.reveal().encode())
    if not found:
        raise Unreadable("key_file_malformed")
    if found.get("type") != "service_account":
        raise Unreadable("no_service_account")
    if _host(found.get("token_uri")) not in hosts:
        raise Unreadable("token_uri_refused")
    email, project = text(found.get("client_email")), text(found.get("project_id"))
    if email is None or project is None or not f"{email}{project}".isprintable():
        raise Unreadable("key_file_incomplete")
    return KeyFile(email, project, _signer(found.get("private_key"), text(found.get("private_key_id"))))


def assertion_form(
    credentials: Mapping[str, Secret], audience: str, hosts: Collection[str] = _HOSTS
) -> dict[str, str]:
    """Return the form that gets a token at *audience* with *credentials*. Raises Unreadable."""
    key_file = read_key_file(credentials["service_account_json"], hosts)
    now = int(time.time()) - BACKDATED
    claims: dict[str, str | int] = {
        "iss": key_file.client_email,
        "aud": audience,
        "scope": credentials["scope"].reveal(),
        "iat": now,
        "exp": now + LIFETIME,
    }
    if "subject" in credentials:
        claims["sub"] = credentials["subject"].reveal()
    return {"grant_type": JWT_BEARER, "assertion": key_file.signer.signed(claims).reveal()}


def hosts_beside(token_endpoint: str) -> frozenset[str]:
    """Return the hosts that a key file may name where tokens are got at *token_endpoint*."""
    own = _host(token_endpoint)
    return _HOSTS | {own} if own else _HOSTS


def _host(address: object) -> str | None:
    """Return the host of an https *address*, or of our own; the vendor's where a file names none."""
    if address is None:
        return "oauth2.googleapis.com"
    try:
        return urlsplit(str(address)).hostname
    except ValueError:
        return None


def _signer(pem: object, key_id: str | None) -> Signer:
    found = text(pem)
    if found is None:
        raise Unreadable("key_file_incomplete")
    try:
        return signer(Secret(found), key_id=key_id, algorithm="RS256")
    except Unreadable:
        raise Unreadable("private_key_malformed") from None
