"""The rules that hold for the whole of the code: who may import whom, and what must not be written."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "integrations": set[str](),
    "vault": {"integrations"},
    "jobs": {"vault", "integrations"},
    "migrations": {"vault"},
}
# An entry point starts what is above everything else, and so may import it.
ENTRY_POINTS = {"vault/__main__.py"}
# Inside vault, from the bottom up: a module may import what stands before it, and its own layer.
LAYERS = (
    {
        "errors",
        "conditions",
        "clock",
        "names",
        "addresses",
        "settings",
        "audit",
        "connection",
        "inheritance",
        "editing",
        "lessons",
        "timing",
        "feeding",
        "logs",
        "metrics",
        "tally",
        "breaker",
        "limits",
        "places",
    },
    {"keyring", "sealing", "chain", "store", "outbound", "mail"},
    {"live_keyring"},
    {"memory", "watch"},
    {"scrape", "request_log"},
    {
        "unlock",
        "providers",
        "gates",
        "housekeeping",
        "sources",
        "access",
        "tickets",
        "signing_in",
        "signing_keys",
    },
    {"keys", "trail"},
    {"means", "tries"},
    {"clients"},
    {"holding", "carrying"},
    {"revoke", "grants", "proof", "reporting", "disconnect"},
    {"exchange"},
    {"consent", "entering"},
    {"works"},
    {
        "refresh",
        "tenants",
        "callers",
        "authorize",
        "callback",
        "devices",
        "connections",
        "sweep",
    },
    {"offboarding", "verify"},
    {"waiting", "withheld", "tokens", "client_tokens", "checks"},
    {"services"},
    {"http", "pages", "listing"},
    {"moving"},
    {"app"},
    {"cli"},
    {"__main__"},
)
PURE = (
    *("errors", "clock", "names", "addresses", "settings", "audit", "connection", "exchange/patience"),
    *("chain", "cli/findings", "breaker", "limits", "places", "conditions", "inheritance", "editing"),
    *("exchange/endings", "moving/foreign", "moving/archive"),
)
FRAMEWORKS = {"sqlalchemy", "litestar", "httpx", "aiohttp"}


def modules(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imported(path: Path) -> Iterator[str]:
    """Give the dotted name of everything that *path* imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_packages_import_only_downwards() -> None:
    """No package imports one above it, but for the entry point that starts them."""
    offenders = [
        f"{named(path)}: {name}"
        for package, allowed in PACKAGES.items()
        for path in modules(package)
        if named(path) not in ENTRY_POINTS
        for name in imported(path)
        if (top := name.partition(".")[0]) in PACKAGES and top not in allowed | {package}
    ]

    assert offenders == []


def test_inside_the_vault_imports_go_down() -> None:
    """A module of the vault imports nothing of a layer above its own."""
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    offenders = []
    for path in modules("vault"):
        own = path.relative_to(ROOT / "vault").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "vault" and len(parts) > 1 and level[parts[1]] > level[own]:
                offenders.append(f"{named(path)}: {name}")

    assert offenders == []


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_knows_no_framework(module: str) -> None:
    """Judgements and words need neither database nor HTTP."""
    found = {name.partition(".")[0] for name in imported(ROOT / "vault" / f"{module}.py")}

    assert found & FRAMEWORKS == set()


def test_controllers_know_neither_store_nor_keyring() -> None:
    """HTTP and pages translate; they never touch a row or a key. Readiness is what asks about both."""
    offenders = [
        f"{named(path)}: {name}"
        for package in ("vault/http", "vault/pages")
        for path in modules(package)
        if path.name != "health.py"
        for name in imported(path)
        if name.startswith(("vault.store", "vault.keyring", "sqlalchemy"))
    ]

    assert offenders == []


def test_migrations_import_nothing_of_ours() -> None:
    """A revision is the same for ever, whatever becomes of the code."""
    offenders = [
        f"{named(path)}: {name}"
        for path in modules("migrations/versions")
        for name in imported(path)
        if name.partition(".")[0] in PACKAGES
    ]

    assert offenders == []


def test_secrets_are_revealed_in_few_places() -> None:
    """Each place that takes a secret out of its wrapping is known here."""
    revealing = {
        named(path) for package in PACKAGES for path in modules(package) if ".reveal()" in path.read_text()
    }

    assert revealing == {
        "integrations/assertions.py",  # a key, to sign with it
        "integrations/clientauth.py",  # a client's secret
        "integrations/google/provider.py",  # into requests
        "integrations/jwks.py",  # an ID token's signature
        "integrations/morning.py",  # into requests
        "integrations/jwt_claims.py",  # a JWT, to see what it says
        "integrations/oauth.py",  # into requests
        "integrations/requests.py",  # an access token, to be probed or revoked
        "integrations/google/service_account.py",  # a key, into what it signs
        "integrations/sandbox.py",  # the sandbox is a provider
        "integrations/voicenter/provider.py",  # into requests
        "integrations/twilio/provider.py",  # into requests
        "integrations/twilio/calls.py",  # into requests
        "integrations/twilio/grants.py",  # a key, to sign with it
        "integrations/twilio/keys.py",  # the SID of a key, which is none
        "integrations/twilio/trunk.py",  # a password, into requests
        "vault/access.py",  # an API key's hash
        "vault/entering/completing.py",  # what was entered, to be looked at with what is added
        "vault/entering/trying.py",  # a scope, which is none
        "vault/http/callers.py",  # a new key, shown once
        "vault/http/views/client_tokens.py",  # the token that was asked for
        "vault/http/views/connections.py",  # the token that was asked for
        "vault/entering/masking.py",  # the last of a value
        "integrations/calls.py",  # into requests
        "integrations/smtp.py",  # where a mail server is, and whose mailbox it is
        "vault/mail.py",  # to sign in with
        "integrations/resend.py",  # a sender, which is none
        "integrations/whatsapp/provider.py",  # into requests
        "vault/moving/departures.py",  # into an export
        "vault/moving/foreign.py",  # the secret and the key of another vault
        "vault/moving/items.py",  # what was encrypted elsewhere, to be stored
        "vault/keyring.py",  # sealing, and the wrapping key
        "vault/sealing.py",  # several fields into one value
        "vault/__main__.py",  # a link to sign in with, shown once
        "vault/cli/callers.py",  # a new key, shown once
        "vault/cli/quickstart.py",  # the key of the quickstart
        "vault/pages/signing_in.py",  # the session, into its cookie
        "vault/settings.py",  # the length of the secret
    }


def test_nothing_random_is_guessable() -> None:
    """Random numbers come from the operating system, never from `random`."""
    users = [named(path) for package in PACKAGES for path in modules(package) if "random" in set(imported(path))]

    assert users == []


def test_lock_files_name_no_registry() -> None:
    """What is pinned says nothing of where it was fetched from."""
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text()
