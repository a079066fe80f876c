"""What a healthy vault looks like: each fact that `tokenvault doctor` gathers, judged, with what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vault.connection import ACTIONS, NextAction
from vault.settings import Settings, is_loopback

Level = Literal["ok", "warning", "problem"]
LATE, FAR_TOO_LATE = 60, 300  # seconds that the sweep may lag behind
APART, FAR_APART = 2, 30  # seconds between the database's clock and ours
LITTLE, TOO_LITTLE = 1 << 30, 100 << 20  # bytes of disk
# What helps connections that have failed, by what they need.
_TO_DO: Mapping[NextAction, str] = {
    "reconnect": "Somebody has to connect them again: POST …/authorize gives a link for them.",
    "fix_credentials": "Somebody has to enter them anew: `advice` in each says why.",
    "operator": "The values do not open: restore them from a backup, or have them connected again.",
}


@dataclass(frozen=True)
class Finding:
    """One check: how it went, what was seen, and what would help."""

    check: str
    level: Level
    says: str
    do: str | None = None

    def facts(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        return f"{self.level:8} {self.check}: {self.says}" + (f" {self.do}" if self.do else "")


def healthy(found: Iterable[Finding]) -> bool:
    """Say whether nothing is worse than a warning."""
    return all(finding.level != "problem" for finding in found)


def of_settings(settings: Settings) -> list[Finding]:
    found = [Finding("settings", "ok", "All settings are valid.")]
    if settings.secure or is_loopback(settings.public_url):
        found.append(Finding("public url", "ok", f"{settings.public_url} is https, or this machine only."))
    else:
        says = f"{settings.public_url} is plain http, and not this machine only."
        found.append(Finding("public url", "warning", says, "Put TLS in front, and set PUBLIC_URL to https://…"))
    for check, on, setting in (
        ("sandbox", settings.sandbox, "TOKENVAULT_SANDBOX"),
        ("local providers", settings.allow_local_providers, "TOKENVAULT_ALLOW_LOCAL_PROVIDERS"),
    ):
        found.append(
            Finding(check, "warning", "On: for development and tests only.", f"Unset {setting} in production.")
            if on
            else Finding(check, "ok", "Off.")
        )
    return found


def of_file(mode: int, folder_mode: int, free: int) -> list[Finding]:
    """Judge the permissions of a SQLite file and its folder, and the *free* bytes of their disk."""
    found = [Finding("file", "ok", "Only its owner can read it, and nobody else can put another in its place.")]
    if folder_mode & 0o022:
        found = [Finding("file", "problem", "Others can write to its folder.", "Run chmod 700 on the folder.")]
    elif mode & 0o077:
        found = [Finding("file", "warning", "Others than its owner can read it.", "Run chmod 600 on the file.")]
    level: Level = "problem" if free < TOO_LITTLE else "warning" if free < LITTLE else "ok"
    do = None if level == "ok" else "Make room: without it, no renewed token can be stored."
    return [*found, Finding("disk", level, f"{free >> 20} MiB are free.", do)]


def of_sqlite(facts: Mapping[str, Any]) -> list[Finding]:
    says = f"SQLite {facts['version']}, journal {facts['journal_mode']}, synchronous {facts['synchronous']}."
    durable = facts["journal_mode"] == "truncate" and facts["synchronous"] == 3
    do = None if durable else "Close whatever else has the file open: it keeps the vault from its journal mode."
    return [Finding("database", "ok" if durable else "problem", says, do)]


def of_postgresql(facts: Mapping[str, Any]) -> list[Finding]:
    found = [Finding("database", "ok", f"PostgreSQL {facts['version']}.")]
    for setting in ("fsync", "full_page_writes"):
        if facts[setting] != "on":
            says = f"{setting} is {facts[setting]}: a crash of the server can lose or break what was committed."
            found.append(Finding("durability", "problem", says, f"Set {setting} = on in postgresql.conf."))
    if facts["synchronous_commit"] not in {"on", "remote_apply"}:
        says = f"synchronous_commit is {facts['synchronous_commit']}: a crash can lose what was committed."
        found.append(Finding("durability", "problem", says, "Something between changes it: a pooler, perhaps."))
    if len(found) == 1:
        found.append(Finding("durability", "ok", "What is committed survives a crash."))
    return found


def of_writing(facts: Mapping[str, Any], unwritable: list[str]) -> Finding:
    """Judge whether this role of PostgreSQL can write to our tables."""
    if facts["standby"]:
        return Finding("writing", "problem", "This server is a standby.", "Point DATABASE_URL to the primary.")
    if facts["default_transaction_read_only"] == "on":
        return Finding(
            "writing", "problem", "Transactions are read-only here.", "Reset default_transaction_read_only."
        )
    if unwritable:
        says = f"This role cannot write to {', '.join(unwritable)}."
        return Finding("writing", "problem", says, "Use the role that owns the tables, or grant it the rights.")
    return Finding("writing", "ok", "This role can write to all tables.")


def of_clock(apart: float) -> Finding:
    """Judge how many seconds the database's clock is *apart* from ours."""
    level: Level = "problem" if apart > FAR_APART else "warning" if apart > APART else "ok"
    do = None if level == "ok" else "Keep both clocks with NTP: keys and sessions expire by this machine's."
    return Finding("clock", level, f"The database's clock and this machine's are {apart:.1f} s apart.", do)


def of_key(key: int, opens: bool | None) -> Finding:
    """Judge whether a value that *key* sealed opens; None where it sealed none that could be tried."""
    if opens is None:
        return Finding("sealed values", "ok", f"Key {key:08x} has sealed nothing yet.")
    if opens:
        return Finding("sealed values", "ok", f"A value that key {key:08x} sealed opens.")
    says = f"A value that key {key:08x} sealed does not open."
    return Finding("sealed values", "problem", says, "Restore the database from a backup; keep a copy as it is.")


def of_sweep(overdue: Mapping[str, int], lag: Mapping[str, float]) -> Finding:
    worst = max(lag, key=lambda provider: lag[provider], default=None)
    if worst is None or lag[worst] <= LATE:
        return Finding("sweep", "ok", f"{sum(overdue.values())} connections are due, none for over {LATE} s.")
    says = f"{sum(overdue.values())} connections are overdue, at {worst} since {lag[worst]:.0f} s."
    do = "Is a `tokenvault serve` or `worker` running? If so, look in its log for the provider's answers."
    return Finding("sweep", "problem" if lag[worst] > FAR_TOO_LATE else "warning", says, do)


def of_connections(by_reason: Mapping[tuple[str, str | None], int]) -> list[Finding]:
    """Judge how the connections are: one line for all, and one for each reason that needs somebody."""
    by_status: dict[str, int] = {}
    for (status, _), count in by_reason.items():
        by_status[status] = by_status.get(status, 0) + count
    says = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items())) or "none yet"
    found = [Finding("connections", "ok", f"{says}.")]
    for (status, stored), count in sorted(by_reason.items(), key=str):
        reason = stored or "expired"  # what nothing renews fails by itself, without a word in its row
        if status != "failed":
            continue
        action = ACTIONS[reason]
        level: Level = "problem" if action == "operator" else "warning"
        found.append(Finding("connections", level, f"{count} failed: {reason}.", _TO_DO[action]))
    return found


def of_gates(
    breakers: Mapping[str, bool], rejected: Mapping[str, int], paused: Mapping[str, int]
) -> list[Finding]:
    """Judge open *breakers*, *rejected* clients by provider, and what is *paused* by kind."""
    open_at = sorted(provider for provider, is_open in breakers.items() if is_open)
    refused_at = sorted(provider for provider, count in rejected.items() if count)
    halted = [f"{count} {kind}(s)" for kind, count in paused.items() if count]
    return [
        _unless("breakers", open_at, "Open at", "Nothing, if the provider has an outage: it closes by itself."),
        _unless("clients", refused_at, "Rejected at", "Enter the right client secret: PUT /v1/clients/…"),
        _unless("pauses", halted, "Paused:", "Resume them when what they were paused for is over."),
    ]


def of_leftovers(lapsed: int, orphans: int) -> list[Finding]:
    """Judge leases that *lapsed* with an open intent, and renewed tokens that found a newer generation."""
    left = [f"{lapsed} with nobody knowing what came of them"] if lapsed else []
    aside = [f"{orphans} renewed token sets"] if orphans else []
    wait = "Nothing, if a server runs: it takes them over when it is safe. Otherwise start one."
    keep = "Keep them: where a connection fails as lost_rotation, its only good token may be among them."
    return [_unless("leases", left, "Lapsed:", wait), _unless("orphaned tokens", aside, "Set aside:", keep)]


def _unless(check: str, seen: list[str], word: str, do: str) -> Finding:
    """Return a warning that names what was *seen*, or that there is nothing."""
    if not seen:
        return Finding(check, "ok", "None.")
    return Finding(check, "warning", f"{word} {', '.join(seen)}.", do)
