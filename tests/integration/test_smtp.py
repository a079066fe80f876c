"""Mailboxes through the API: a password, or a Google connection that feeds it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from integrations.advice import ADVICE
from tests.authority import Authority
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age, audited, eventually, queued
from tests.integration.test_api import bearing, refused
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import TENANT, Rig
from tests.vendors.smtp import PASSWORD, USERNAME, Mailbox, mail_server
from vault import outbound
from vault.memory import STALE_AFTER
from vault.store.schema import sealed_values
from vault.store.writer import Transaction

PATH = f"/v1/connections/{TENANT}/smtp/mail"
GOOGLE = f"/v1/connections/{TENANT}/google/default"
pytestmark = on_sqlite


@pytest.fixture(name="mailbox")
async def _mailbox(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mailbox]:
    """A mail server whose certificate this machine trusts."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    outbound.trust.cache_clear()
    async with mail_server(Mailbox(), authority.server("localhost")) as mailbox:
        yield mailbox
    outbound.trust.cache_clear()


@pytest.fixture(name="provider")
async def _provider(tmp_path: Path) -> AsyncIterator[FakeProvider]:
    path = tmp_path / "google.jsonl"
    async with FakeProvider(path, fsync=False, dialect="google", rotation="never") as fake:
        yield fake


@pytest.fixture(name="rig")
async def _rig(mailbox: Mailbox, replicas: Replicas, provider: FakeProvider) -> Rig:
    return await replicas(endpoints={"smtp": {"google_mail_host": "localhost"}, "google": provider.endpoints})


def entered(mailbox: Mailbox, **changed: str) -> dict[str, Any]:
    fields = {
        "host": "localhost",
        "port": str(mailbox.port),
        "username": USERNAME,
        "password": PASSWORD,
        **changed,
    }
    return {"kind": "password", "credentials": fields}


async def test_a_mailbox_from_its_password_to_another_one(rig: Rig, mailbox: Mailbox) -> None:
    """Entered, handed out, refused once the password was changed at the server, and corrected."""
    made = await rig.api.put(PATH, json=entered(mailbox))
    assert (made.status_code, made.json()["status"]) == (201, "verified"), made.text
    assert made.json()["credentials"]["password"] == "••••"
    assert made.json()["credentials"]["username"] == USERNAME
    given = (await rig.api.get(f"{PATH}/token")).json()
    assert given["credentials"] == {
        "host": "localhost",
        "port": str(mailbox.port),
        "tls": "starttls",
        "username": USERNAME,
        "password": PASSWORD,
    }
    assert "authorization" not in given
    assert "expires_in" not in given

    mailbox.password = "another one"
    verified = (await rig.api.post(f"{PATH}/verify")).json()
    assert (verified["verdict"], verified["status"], verified["reason"]) == (
        "invalid",
        "failed",
        "credentials_rejected",
    )
    assert (verified["last_error_code"], verified["next_action"]) == ("wrong_password", "fix_credentials")
    refused = await rig.api.get(f"{PATH}/token")
    assert (refused.status_code, refused.json()["code"]) == (409, "credentials_rejected")

    corrected = await rig.api.patch(PATH, json={"credentials": {"password": "another one"}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await rig.api.get(f"{PATH}/token")).json()["credentials"]["password"] == "another one"


@pytest.mark.parametrize(
    ("changed", "code", "reason"),
    [
        ({"password": "wrong"}, "credentials_rejected", "wrong_password"),
        ({"port": "65536"}, "credentials_rejected", "no_such_port"),
        ({"tls": "none"}, "invalid_field", None),
        ({"host": "local host"}, "invalid_field", None),
    ],
)
async def test_what_does_not_work_is_not_stored(
    rig: Rig, mailbox: Mailbox, changed: dict[str, str], code: str, reason: str | None
) -> None:
    """A wrong password, a port there is not, a session without TLS: 422, with what can be done where there is a
    reason, and nothing is there afterwards.
    """
    refused = await rig.api.put(PATH, json=entered(mailbox, **changed))

    assert (refused.status_code, refused.json()["code"], refused.json().get("reason")) == (422, code, reason)
    assert refused.json().get("advice") == ADVICE.get(reason or "")
    assert (await rig.api.get(PATH)).status_code == 404


async def test_a_server_without_tls_is_never_told_the_password(rig: Rig, mailbox: Mailbox) -> None:
    """Somebody on the way may have taken STARTTLS out of what the server offers."""
    mailbox.starttls = False
    refused = await rig.api.put(PATH, json=entered(mailbox))

    assert (refused.status_code, refused.json().get("reason")) == (422, "starttls_missing")
    assert mailbox.tries == []


async def test_a_server_that_is_away_says_nothing_of_the_password(rig: Rig, mailbox: Mailbox) -> None:
    """Nobody can tell now: it is stored as it is, handed out, and tried again some day."""
    made = await rig.api.put(PATH, json=entered(mailbox, port="1"))

    assert (made.status_code, made.json()["status"], made.json()["reason"]) == (201, "configured", "probe_unknown")
    assert made.json()["last_error_code"] == "connection_failed"
    assert (await rig.api.get(f"{PATH}/token")).status_code == 200


async def test_a_google_account_feeds_a_mailbox(rig: Rig, mailbox: Mailbox) -> None:
    """What is handed out is fed with the Google token that there is now, and ends when that does."""
    await fed(rig, mailbox)

    given = (await rig.api.get(f"{PATH}/token")).json()
    assert sasl(given) == f"user={USERNAME}\x01auth=Bearer canary-google-at\x01\x01"
    assert given["expires_at"] in {"2029-12-31T23:59:59Z", "2030-01-01T00:00:00Z"}
    assert given["source"] == {"tenant": TENANT, "provider": "smtp", "name": "mail"}
    await google(rig, "canary-google-at-2", "2031-01-01T00:00:00Z")
    assert "canary-google-at-2" in sasl((await rig.api.get(f"{PATH}/token")).json())

    await rig.api.delete(GOOGLE)
    refused = await rig.api.get(f"{PATH}/token")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_connected")


async def test_who_does_not_reach_the_google_account_cannot_have_its_token_by_mail(
    rig: Rig, mailbox: Mailbox
) -> None:
    """A key for mail alone enters nothing that would give it the token of another provider."""
    await google(rig, "canary-google-at", "2030-01-01T00:00:00Z")
    scopes = ["connections:write", "tokens:read"]
    caller = {"name": "mailer", "scopes": scopes, "tenant": TENANT, "providers": ["smtp"]}
    key = (await rig.api.post("/v1/callers", json=caller)).json()["key"]
    fields = {"username": USERNAME, "port": str(mailbox.port)}
    body = {"kind": "xoauth2", "credentials": fields}
    refused = await rig.api.put(PATH, json=body, headers={"Authorization": f"Bearer {key}"})

    assert refused.status_code == 404
    assert (await rig.api.get(PATH)).status_code == 404
    assert mailbox.tries == []


async def test_a_google_token_goes_to_google_alone(rig: Rig, mailbox: Mailbox) -> None:
    """Who may enter a mailbox, and not fetch tokens, cannot have one sent to a server of their own."""
    await google(rig, "canary-google-at", "2030-01-01T00:00:00Z")
    fields = {"username": USERNAME, "host": "localhost", "port": str(mailbox.port)}
    refused = await rig.api.put(PATH, json={"kind": "xoauth2", "credentials": fields})

    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")
    assert mailbox.tries == []


async def test_who_does_not_reach_the_google_account_gets_no_link_to_it(rig: Rig, mailbox: Mailbox) -> None:
    """Whoever has it could put an account of their own there: neither a tenant below, nor a key for mail alone."""
    await fed(rig, mailbox, shared=True)
    await rig.api.put("/v1/tenants/below", json={"parent": TENANT, "name": "Below"})
    await age(rig, timedelta(days=3650))

    for tenant, limits, told, source in (
        (TENANT, {}, True, None),
        (TENANT, {"providers": ["smtp"]}, False, None),
        ("below", {}, False, {"tenant": TENANT, "provider": "smtp", "name": "mail"}),
    ):
        key = await rig.key("tokens:read", tenant=tenant, **limits)
        asked = f"/v1/connections/{tenant}/smtp/mail/token"
        problem = refused(await rig.api.get(asked, headers=bearing(key)), 409, "reconnect_required")
        assert ("connect_url" in problem, problem.get("source")) == (told, source)


async def test_whose_google_account_it_is_is_not_said_of_a_mailbox(rig: Rig, mailbox: Mailbox) -> None:
    """A token answer names the mailbox, which is the tenant's own; the account that feeds it is inherited."""
    await google(rig, "canary-google-at", "2030-01-01T00:00:00Z", shared=True)
    mailbox.access_token = "canary-google-at"
    await rig.api.put("/v1/tenants/below", json={"parent": TENANT, "name": "Below"})
    path, fields = "/v1/connections/below/smtp/mail", {"username": USERNAME, "port": str(mailbox.port)}
    assert (await rig.api.put(path, json={"kind": "xoauth2", "credentials": fields})).status_code == 201
    given = (await rig.api.get(f"{path}/token")).json()
    assert (given["source"]["tenant"], "canary-google-at" in sasl(given)) == ("below", True)

    await age(rig, timedelta(days=3650))

    problem = refused(await rig.api.get(f"{path}/token"), 409, "reconnect_required")
    assert {"source", "connect_url"}.isdisjoint(problem)


async def test_whose_token_a_mailbox_was_handed_out_with_is_written_down(rig: Rig, mailbox: Mailbox) -> None:
    """Of which connection, and which of its tokens: who looks for what became of them finds it."""
    await fed(rig, mailbox)
    await google(rig, "canary-google-at-2", "2031-01-01T00:00:00Z")
    assert (await rig.api.get(f"{PATH}/token")).status_code == 200

    (event,) = await audited(rig, "token.handed_out")
    assert (event["provider"], event["generation"]) == ("smtp", 1)
    assert event["detail"] == {"fed_by": f"{TENANT}/google/default", "fed_generation": 2}


async def test_a_google_token_that_does_not_open_is_the_google_connections_matter(
    rig: Rig, mailbox: Mailbox
) -> None:
    """It is the one that an operator has to look at; the mailbox is well as soon as that is."""
    await fed(rig, mailbox)
    async with rig.vault.database.transaction() as tx:
        spoilt = update(sealed_values).where(sealed_values.c.field == "access_token")
        await tx.execute(spoilt.values(ciphertext=bytes(40)))

    refused(await rig.api.get(f"{PATH}/token"), 409, "operator_required")

    assert (await rig.api.get(GOOGLE)).json()["reason"] == "undecryptable"
    assert (await rig.api.get(PATH)).json()["status"] == "verified"


async def test_a_google_connection_that_ends_during_the_record_feeds_nothing(rig: Rig, mailbox: Mailbox) -> None:
    """Switched off while the audit record of a hand-out waits for the database: its token leaves no more."""
    await fed(rig, mailbox)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def blocking(_: Transaction) -> None:
        begun.set()
        await go_on.wait()

    blocked = asyncio.create_task(rig.vault.writer.submit(blocking, alone=True))
    await begun.wait()
    disabling = asyncio.create_task(rig.api.patch(GOOGLE, json={"enabled": False}))
    await eventually(queued(rig, 2))  # the watch is one of them
    asking = asyncio.create_task(rig.api.get(f"{PATH}/token"))
    await eventually(queued(rig, 3))
    await asyncio.sleep(STALE_AFTER)
    go_on.set()
    await blocked
    await disabling

    refused(await asking, 409, "disabled")


async def test_a_mailbox_is_well_again_with_its_google_account(rig: Rig, mailbox: Mailbox) -> None:
    """What the mail server refused was the token, and not what was entered: another one is handed out at once."""
    await fed(rig, mailbox)
    mailbox.access_token = "canary-other"  # the former one was revoked at Google
    await age(rig, timedelta(days=30), "next_check_at")
    await rig.vault.checks.tick()
    await rig.vault.checks.finished()
    shown = (await rig.api.get(PATH)).json()
    assert (shown["status"], shown["last_error_code"]) == ("degraded", "mail_token_refused")

    await google(rig, "canary-other", "2031-01-01T00:00:00Z")
    assert (await rig.api.get(f"{PATH}/token")).status_code == 200
    assert (await rig.api.post(f"{PATH}/verify")).json()["status"] == "verified"


async def fed(rig: Rig, mailbox: Mailbox, **more: Any) -> None:
    """Have a mailbox that a Google connection feeds, for many years."""
    fields = {"username": USERNAME, "port": str(mailbox.port)}
    mailbox.access_token = "canary-google-at"
    await google(rig, "canary-google-at", "2030-01-01T00:00:00Z")
    made = await rig.api.put(PATH, json={"kind": "xoauth2", "credentials": fields, **more})
    assert (made.status_code, made.json()["status"]) == (201, "verified"), made.text


async def google(rig: Rig, token: str, expires_at: str, **more: Any) -> None:
    body = {"credentials": {"access_token": token, "expires_at": expires_at}, "verify": False, **more}
    assert (await rig.api.put(GOOGLE, json=body)).status_code in {200, 201}


def sasl(given: dict[str, Any]) -> str:
    return base64.b64decode(given["credentials"]["sasl_xoauth2"]).decode()


# ---- a token that is refused where the mailbox was used


async def renewing(rig: Rig, mailbox: Mailbox) -> Grant:
    """Have a mailbox whose Google connection renews itself; return the grant of that."""
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    assert (await rig.api.put(f"/v1/clients/{TENANT}/google", json=client)).status_code == 200
    await fed(rig, mailbox)
    grant = await rig.provider.mint()
    tokens = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    assert (await rig.api.put(GOOGLE, json={"credentials": tokens, "verify": False})).status_code == 200
    mailbox.access_token = grant.access_token
    return grant


async def reports(rig: Rig, generation: int, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else bearing(key)
    return await rig.api.post(f"{PATH}/rejections", json={"generation": generation}, headers=headers)


async def generation(rig: Rig) -> int:
    """Return which tokens the Google connection holds."""
    return int((await rig.api.get(GOOGLE)).json()["generation"])


async def test_a_report_of_a_mailbox_is_one_of_the_token_that_feeds_it(rig: Rig, mailbox: Mailbox) -> None:
    """Whoever may use the mailbox has another one got, once a generation, and reaches nothing else of Google's."""
    grant = await renewing(rig, mailbox)
    key = await rig.key("tokens:read", providers=["smtp"])
    given = (await rig.api.get(f"{PATH}/token", headers=bearing(key))).json()
    assert given["generation"] == 2

    answers = await asyncio.gather(*(reports(rig, 2, key) for _ in range(8)))
    late = await reports(rig, 2, key)

    assert {answer.json()["generation"] for answer in (*answers, late)} == {3}
    (told,) = {sasl(answer.json()) for answer in (*answers, late)}
    assert told != sasl(given)
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1
    refused(await rig.api.get(f"{GOOGLE}/token", headers=bearing(key)), 404)
    refused(await reports(rig, 4, key), 422, "unknown_generation")


async def test_a_report_of_a_mailbox_is_written_down_at_both(rig: Rig, mailbox: Mailbox) -> None:
    """Who said it of what, and whose token was meant; of a former token, nothing is said of the present one."""
    await renewing(rig, mailbox)
    await reports(rig, 2)
    await reports(rig, 1)

    events = await audited(rig, "token.rejected")

    seen = [(one["provider"], one["name"], one["outcome"], one["generation"], one["detail"]) for one in events]
    fed_by = {"fed_by": f"{TENANT}/google/default"}
    assert seen == [
        ("smtp", "mail", "ok", 1, {**fed_by, "fed_generation": 2}),
        ("google", "default", "ok", 2, {"feeds": f"{TENANT}/smtp/mail"}),
        ("smtp", "mail", "outdated", 1, {**fed_by, "fed_generation": 1}),
    ]
    assert len({one["actor"] for one in events}) == 1


async def test_a_report_of_a_mailbox_and_one_of_its_google_connection_are_one(rig: Rig, mailbox: Mailbox) -> None:
    """It is the same token: whoever comes second has nothing more done for it."""
    grant = await renewing(rig, mailbox)
    await rig.api.post(f"{GOOGLE}/rejections", json={"generation": 2})

    assert (await reports(rig, 2)).json()["generation"] == 3

    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1


async def test_a_mailbox_whose_token_is_proven_dead_hands_out_nothing(rig: Rig, mailbox: Mailbox) -> None:
    """The grant is over, and where the mailbox was used the token was refused: neither path gives it any more."""
    grant = await renewing(rig, mailbox)
    await rig.provider.revoke_family(grant.family)
    assert (await rig.api.get(f"{PATH}/token")).status_code == 200

    refused(await reports(rig, 2), 409, "reconnect_required")

    for path in (PATH, GOOGLE):
        refused(await rig.api.get(f"{path}/token"), 409, "reconnect_required")
    assert (await rig.api.get(PATH)).json()["status"] == "verified"


async def test_a_verification_that_finds_the_token_refused_has_another_one_got(rig: Rig, mailbox: Mailbox) -> None:
    """It is renewed and tried once more, by a person's wish or when the mailbox is looked at."""
    grant = await renewing(rig, mailbox)
    mailbox.access_token = "canary-other"

    shown = (await rig.api.post(f"{PATH}/verify")).json()

    assert (shown["verdict"], shown["status"], await generation(rig)) == ("unknown", "degraded", 3)
    mailbox.tries.clear()
    await age(rig, timedelta(days=30), "next_check_at")
    await rig.vault.checks.tick()
    await rig.vault.checks.finished()
    assert (await generation(rig), mailbox.tries) == (4, ["XOAUTH2"] * 2)
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 2
    actors = [one["actor"].partition(":")[0] for one in await audited(rig, "token.rejected")]
    assert actors == ["caller", "caller", "scheduler", "scheduler"]


async def test_a_verification_proves_the_mailbox_with_the_token_that_was_got(rig: Rig, mailbox: Mailbox) -> None:
    """The former one was refused: with its successor the mailbox is as good as before."""
    grant = await renewing(rig, mailbox)
    mailbox.ended.add(grant.access_token)

    shown = (await rig.api.post(f"{PATH}/verify")).json()

    assert (shown["verdict"], shown["status"], await generation(rig)) == ("valid", "verified", 3)
