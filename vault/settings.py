"""Every setting, read once from the environment, with all that is wrong with it said at once."""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integrations.contract import Secret
from integrations.endpoints import BUILT_IN, Endpoints, setting
from vault.addresses import usable

_OF_COMMANDS = {"TOKENVAULT_URL", "TOKENVAULT_KEY", "TOKENVAULT_KEY_FILE"}  # what `get` and `exec` read
SHORTEST_SECRET = 32  # characters
LEASE_MARGIN = 10  # seconds between the end of a provider call and the end of its lease


class BadSettings(Exception):
    """The environment is not fit to start with. *problems* has one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """What a process was started with. Durations are seconds."""

    encryption_secret: Secret
    database_url: str
    public_url: str
    sweep_interval: float = 5.0
    provider_timeout: float = 20.0
    lease: float = 60.0
    provider_concurrency: int = 64
    ticket_lifetime: float = 7 * 86400.0
    cache_entries: int = 10_000
    waiting_readers: int = 1_000
    caller_rate: float = 1_000.0  # requests a second; 0: as many as they like
    audit_retention_days: int = 0  # 0: for ever
    allow_local_providers: bool = False
    sandbox: bool = False
    log_level: str = "INFO"
    endpoints: Mapping[str, Endpoints] = field(default_factory=dict)  # of built-in providers, where they are moved

    @property
    def secure(self) -> bool:
        """Whether people reach us by https, so that cookies may say so."""
        return self.public_url.startswith("https://")

    @property
    def on_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Return the settings in *environ* (this process's by default). Raises BadSettings."""
        reader = _Reader(os.environ if environ is None else environ)
        settings = cls(
            encryption_secret=Secret(reader.text("ENCRYPTION_SECRET", "")),
            database_url=reader.text("DATABASE_URL", "sqlite+aiosqlite:///data/vault.db"),
            public_url=reader.text("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/"),
            sweep_interval=reader.number("TOKENVAULT_SWEEP_INTERVAL_SECONDS", 5, low=0, high=3600),
            provider_timeout=reader.number("TOKENVAULT_PROVIDER_TIMEOUT_SECONDS", 20, low=0.1, high=120),
            lease=reader.number("TOKENVAULT_LEASE_SECONDS", 60, low=1, high=3600),
            provider_concurrency=int(reader.number("TOKENVAULT_PROVIDER_CONCURRENCY", 64, low=1, high=1000)),
            ticket_lifetime=reader.number("TOKENVAULT_TICKET_SECONDS", 7 * 86400, low=60, high=90 * 86400),
            cache_entries=int(reader.number("TOKENVAULT_CACHE_ENTRIES", 10_000, low=100, high=10_000_000)),
            waiting_readers=int(reader.number("TOKENVAULT_WAITING_READERS", 1_000, low=1, high=1_000_000)),
            caller_rate=reader.number("TOKENVAULT_CALLER_RATE", 1_000, low=0, high=1_000_000),
            audit_retention_days=int(reader.number("TOKENVAULT_AUDIT_RETENTION_DAYS", 0, low=0, high=36500)),
            allow_local_providers=reader.flag("TOKENVAULT_ALLOW_LOCAL_PROVIDERS"),
            sandbox=reader.flag("TOKENVAULT_SANDBOX"),
            log_level=reader.text("TOKENVAULT_LOG_LEVEL", "INFO").upper(),
            endpoints={provider: reader.endpoints(provider) for provider in BUILT_IN},
        )
        problems = [*reader.problems, *reader.unknown(), *_contradictions(settings)]
        if problems:
            raise BadSettings(problems)
        return settings


class _Reader:
    """Takes values out of an environment, each also from a file named by NAME_FILE, and notes what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known = set(_OF_COMMANDS)
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        self._known |= {name, f"{name}_FILE"}
        value, path = self._environ.get(name), self._environ.get(f"{name}_FILE")
        if value and path:
            self.problems.append(f"{name} and {name}_FILE are both set: keep one")
        if path:
            return self._from_file(name, path)
        return value or default

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            self.problems.append(f"{name} must be a number from {low:g} to {high:g}")
            return default
        return value

    def flag(self, name: str) -> bool:
        raw = self.text(name, "false").lower()
        if raw not in {"true", "false", "1", "0", "yes", "no"}:
            self.problems.append(f"{name} must be true or false")
        return raw in {"true", "1", "yes"}

    def endpoints(self, provider: str) -> dict[str, str]:
        """Return the endpoints of a built-in *provider* that are to be elsewhere."""
        asked = {name: self.text(setting(provider, name), "") for name in BUILT_IN[provider]}
        return {name: url for name, url in asked.items() if url}

    def unknown(self) -> list[str]:
        return [
            f"{name} is no setting of this version"
            for name in sorted(self._environ)
            if name.startswith("TOKENVAULT_") and name not in self._known
        ]

    def _from_file(self, name: str, path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            self.problems.append(f"{name}_FILE cannot be read")
            return ""


def _contradictions(settings: Settings) -> list[str]:
    rules: list[tuple[bool, str]] = [
        (
            len(settings.encryption_secret.reveal()) >= SHORTEST_SECRET,
            f"ENCRYPTION_SECRET must have at least {SHORTEST_SECRET} characters (tokenvault init makes one)",
        ),
        (
            settings.lease >= settings.provider_timeout + LEASE_MARGIN,
            "TOKENVAULT_LEASE_SECONDS must be at least TOKENVAULT_PROVIDER_TIMEOUT_SECONDS"
            f" + {LEASE_MARGIN}, or two processes could refresh one connection",
        ),
        (
            _is_database(settings.database_url),
            "DATABASE_URL must be sqlite+aiosqlite:///… or postgresql+psycopg://…",
        ),
        (_is_address(settings.public_url), "PUBLIC_URL must be an http(s) address without a query"),
        (
            not settings.sandbox or is_loopback(settings.public_url),
            "TOKENVAULT_SANDBOX is refused unless PUBLIC_URL is a loopback address",
        ),
        (
            settings.log_level in {"DEBUG", "INFO", "WARNING", "ERROR"},
            "TOKENVAULT_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR",
        ),
    ]
    return [problem for holds, problem in [*rules, *_addresses(settings)] if not holds]


def _addresses(settings: Settings) -> Iterator[tuple[bool, str]]:
    """Give, for each endpoint that is moved, whether it can be one, and what is wrong where it cannot."""
    for provider, moved in settings.endpoints.items():
        for name, url in moved.items():
            # A mail server has a name alone; that of an https address there may be is what it has to be like.
            named, what = (
                (f"https://{url}", "a host name") if name.endswith("_host") else (url, "an https address")
            )
            holds = usable(named, allow_local=settings.allow_local_providers)
            yield holds, f"{setting(provider, name)} must be {what} on the internet"


def _is_database(url: str) -> bool:
    kind, _, rest = url.partition("://")
    if kind == "sqlite+aiosqlite":
        return len(rest) > 1 and rest.startswith("/")
    try:
        return kind == "postgresql+psycopg" and urlsplit(f"//{rest}").port != 0
    except ValueError:
        return False


def _is_address(url: str) -> bool:
    parts = _split(url)
    return parts is not None and not parts.query and not parts.fragment and not parts.username


def is_loopback(url: str) -> bool:
    """Say whether *url* names this machine only."""
    parts = _split(url)
    if parts is None:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
