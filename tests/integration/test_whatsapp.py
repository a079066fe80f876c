"""WhatsApp over the HTTP API, against a Meta that is stricter than the real one."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age, audited, eventually
from tests.integration.moving import a_fresh_vault, exported, imported_lines, lines_of, told
from tests.person import Asking, Person, change, rows_of
from tests.provider.wire import json_answer
from tests.rig import TENANT, Rig
from tests.vendors.whatsapp import DAY, MANAGE, MESSAGE, WhatsApp

BUSY = {"error": {"code": 2, "message": "Service temporarily unavailable", "type": "OAuthException"}}


@pytest.fixture(name="meta")
async def _meta() -> AsyncIterator[WhatsApp]:
    async with WhatsApp() as meta:
        yield meta
        assert meta.misfits == []


@pytest.fixture(name="rig")
async def _rig(replicas: Replicas, meta: WhatsApp) -> Rig:
    rig = await replicas(endpoints={"whatsapp": meta.endpoints})
    await register(rig, meta)
    return rig


async def register(rig: Rig, meta: WhatsApp, **changed: Any) -> Any:
    client = {"client_id": meta.app_id, "client_secret": meta.app_secret, **changed}
    answer = await rig.api.put(f"/v1/clients/{TENANT}/whatsapp", json=client)
    assert answer.status_code == 200, answer.text
    return answer.json()


def about(rig: Rig, name: str = "c") -> Asking:
    return Asking(rig, name, provider="whatsapp")


async def enter(rig: Rig, token: str, **body: Any) -> Any:
    given = {"kind": "access_token", "credentials": {"access_token": token}, **body}
    return await rig.api.put(about(rig).path, json=given)


async def signed_up(rig: Rig, code: str, **body: Any) -> Any:
    given = {"kind": "embedded_signup", "credentials": {"code": code}, **body}
    return await rig.api.put(about(rig).path, json=given)


async def pass_time(rig: Rig, meta: WhatsApp, days: float) -> None:
    """Let days pass, here and at Meta, and have swept what is due by then."""
    meta.pass_time(days * DAY)
    moments = ("refresh_expires_at", "granted_at", "next_check_at")
    shifted = ", ".join(f"{moment} = {moment} - :ms" for moment in moments)
    await change(rig, f"UPDATE token_states SET {shifted}", ms=int(days * DAY * 1000))
    await age(rig, timedelta(days=days))
    await rig.vault.sweeper.once()


def fail(meta: WhatsApp, *calls: str, times: int = 1, status: int = 503, body: Any = BUSY, **headers: str) -> None:
    for call in calls:
        meta.faults[call].extend([json_answer(body, status, **headers)] * times)


# ---- a token that is entered


async def test_a_system_users_token_from_its_entry_to_its_end(rig: Rig, meta: WhatsApp, leaks: Leaks) -> None:
    """Enter, verify, fetch, renew; the app is removed: failed, and said why; another token; revoked."""
    first = meta.issue()
    made = await enter(rig, first)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["status"], shown["renewal"], shown["scopes"]) == ("verified", "self_exchange", [MANAGE, MESSAGE])
    assert (shown["account"], shown["account_label"]) == ("1001", "system user 88, WhatsApp account 1001")
    shown = (await rig.api.post(f"{about(rig).path}/verify")).json()
    assert (shown["verdict"], "next_check_at" in shown) == ("valid", False)  # it is renewed: that is a try
    got = (await about(rig).token()).json()
    assert (got["access_token"], got["authorization"]) == (first, f"Bearer {first}")

    await pass_time(rig, meta, 45)
    second = (await about(rig).token()).json()
    assert (second["generation"], second["access_token"] != first) == (2, True)
    assert second["expires_in"] > 59 * DAY

    meta.kill(458)
    await pass_time(rig, meta, 45)
    shown = await about(rig).shown()
    assert (shown["status"], shown["reason"]) == ("failed", "credentials_rejected")
    assert (shown["next_action"], shown["last_error_code"]) == ("fix_credentials", "app_removed")
    assert "removed the app" in shown["advice"]
    withheld = (await about(rig).token()).json()
    assert (withheld["code"], withheld["reason"]) == ("credentials_rejected", "app_removed")
    assert withheld["advice"] == shown["advice"]

    refused = await enter(rig, first)
    assert (refused.status_code, refused.json()["reason"]) == (422, "app_removed")
    third = meta.issue()
    assert (await enter(rig, third)).status_code == 200
    assert (await about(rig).token()).json()["access_token"] == third
    deleted = await rig.api.delete(about(rig).path, params={"revoke": "true"})
    assert deleted.json() == {"revoked": "revoked"}
    assert meta.tokens[third].dead == 466
    leaks.check(json.dumps(shown) + refused.text + made.text)


@on_sqlite
async def test_a_token_that_never_ends_is_left_alone_but_for_a_look(rig: Rig, meta: WhatsApp) -> None:
    """It has no end and is never exchanged; that it was revoked is found out within days, and said."""
    token = meta.issue(lives=0)
    made = (await enter(rig, token)).json()
    assert (made["status"], made["renewal"], "expires_at" in made) == ("verified", "none", False)
    got = (await about(rig).token()).json()
    assert (got["access_token"], "expires_at" in got) == (token, False)

    await pass_time(rig, meta, 400)
    assert meta.calls("access_token") == []
    assert (await about(rig).token()).json()["access_token"] == token

    meta.kill(466)
    await rig.vault.checks.tick()

    async def over() -> bool:
        return bool((await about(rig).shown())["status"] == "failed")

    await eventually(over)
    shown = await about(rig).shown()
    assert shown["reason"] == "credentials_rejected"
    assert shown["last_error_code"] == "token_revoked"
    assert (await about(rig).token()).json()["code"] == "credentials_rejected"


@on_sqlite
@pytest.mark.parametrize("entered", [True, False])
async def test_a_token_that_is_found_dead_is_withheld_until_it_is_good_again(
    rig: Rig, meta: WhatsApp, *, entered: bool
) -> None:
    """A look at it tells, on the day it came: nobody gets it any more, and once it is good it renews itself."""
    asking = about(rig)
    if entered:
        await enter(rig, meta.issue())
    else:
        await Person(rig).connect(await asking.link())
    token = (await asking.token()).json()["access_token"]

    meta.kill(459)
    found = (await rig.api.post(f"{asking.path}/verify")).json()

    assert (found["verdict"], found["status"], found["last_error_code"]) == ("invalid", "failed", "checkpoint")
    withheld = (await asking.token()).json()
    code = "credentials_rejected" if entered else "reconnect_required"
    assert (withheld["status"], withheld["code"], bool(withheld["advice"])) == (409, code, True)

    meta.tokens[token].dead = None
    found = (await rig.api.post(f"{asking.path}/verify")).json()
    assert (found["verdict"], found["status"], "reason" in found) == ("valid", "verified", False)
    assert (await asking.token()).json()["access_token"] == token
    await pass_time(rig, meta, 45)
    assert (await asking.token()).json()["generation"] == 2


@on_sqlite
@pytest.mark.parametrize("verify", [True, False])
async def test_what_could_not_be_recognised_is_recognised_by_the_sweep(
    rig: Rig, meta: WhatsApp, *, verify: bool
) -> None:
    """Meta is away when it is entered, or nobody wants it asked: it is served, and asked about soon."""
    token = meta.issue(lives=0)
    fail(meta, "debug_token", times=verify)
    made = (await enter(rig, token, verify=verify)).json()
    assert (made["status"], made["reason"]) == ("configured", "probe_unknown" if verify else "unverified")
    assert (await about(rig).token()).json()["access_token"] == token

    await rig.vault.sweeper.once()

    shown = await about(rig).shown()
    assert (shown["status"], shown["account"], "expires_at" in shown) == ("verified", "1001", False)
    assert (shown["renewal"], shown.get("last_error_code")) == ("none", None)
    (row,) = await rows_of(rig, "SELECT next_check_at, refreshed_at FROM token_states")
    assert 1.5 <= (row.next_check_at - row.refreshed_at) / 86_400_000 <= 2.5  # milliseconds
    await pass_time(rig, meta, 100)
    assert meta.calls("access_token") == []
    assert (await about(rig).token()).json()["access_token"] == token


@on_sqlite
async def test_a_token_that_may_not_send_is_limited(rig: Rig, meta: WhatsApp) -> None:
    """It is stored, and what it lacks is said."""
    made = (await enter(rig, meta.issue(scopes=(MANAGE,)))).json()

    assert (made["status"], made["last_error_code"], made["lacks"]) == (
        "verified",
        "whatsapp_permission_missing",
        ["send_messages"],
    )


@on_sqlite
@pytest.mark.parametrize(
    ("token", "reason"),
    [({"dead": 460}, "password_changed"), ({"lives": -60}, "token_expired"), ({"app_id": "1"}, "other_app")],
)
async def test_a_dead_token_is_not_stored(
    rig: Rig, meta: WhatsApp, leaks: Leaks, token: dict[str, Any], reason: str
) -> None:
    """The reason is Meta's, in our words, and the former token stays."""
    former = meta.issue()
    await enter(rig, former)

    refused = await enter(rig, meta.issue(**token))

    assert (refused.status_code, refused.json()["code"]) == (422, "credentials_rejected")
    assert refused.json()["reason"] == reason
    assert refused.json()["advice"]
    leaks.check(refused.text)
    assert (await about(rig).token()).json()["access_token"] == former


@on_sqlite
async def test_a_token_where_one_would_consent_is_recognised_too(rig: Rig, meta: WhatsApp) -> None:
    """Tokens from elsewhere need no other kind: what renews itself is all there is of it."""
    token = meta.issue("USER", lives=30 * DAY)

    made = await rig.api.put(about(rig).path, json={"credentials": {"access_token": token}})

    assert made.status_code == 201, made.text
    assert (made.json()["kind"], made.json()["renewal"], made.json()["account"]) == (
        "oauth2",
        "self_exchange",
        "88",
    )
    await pass_time(rig, meta, 20)
    assert (await about(rig).token()).json()["generation"] == 2


# ---- consent and signup


async def test_a_person_connects_and_connects_again(rig: Rig, meta: WhatsApp, leaks: Leaks) -> None:
    """Exchanged in the callback; renewed; the password changes; the link of the refusal works; revoked."""
    asking, person = about(rig), Person(rig)
    page = await person.connect(await asking.link())
    assert page.status_code == 200, page.text
    assert [line.call for line in meta.ledger] == [
        "dialog",
        "access_token",
        "debug_token",
        "access_token",
        "debug_token",
    ]
    shown = await asking.shown()
    assert (shown["status"], shown["account"], shown["scopes"]) == ("verified", "77", [MANAGE, MESSAGE])
    assert (await asking.token()).json()["expires_in"] > 59 * DAY

    await pass_time(rig, meta, 45)
    assert (await asking.token()).json()["generation"] == 2
    meta.kill(460)
    await pass_time(rig, meta, 44.5)
    refused = await asking.token()  # although it was to live for two weeks more
    assert (refused.status_code, refused.json()["code"]) == (409, "reconnect_required")
    assert (refused.json()["reason"], "password" in refused.json()["advice"]) == ("grant_rejected", True)
    shown = await asking.shown()
    assert (shown["reason"], shown["last_error_code"]) == ("grant_rejected", "password_changed")

    assert (await person.connect(refused.json()["connect_url"])).status_code == 200
    assert (await asking.token()).status_code == 200
    deleted = await rig.api.delete(asking.path, params={"revoke": "true"})
    assert deleted.json() == {"revoked": "revoked"}
    assert {line.status for line in meta.calls("permissions")} == {200}
    leaks.check(page.text + refused.text + json.dumps(shown))


@on_sqlite
async def test_a_person_may_refuse(rig: Rig, meta: WhatsApp) -> None:
    """Nothing is stored, and the link is still good."""
    asking, link = about(rig), await about(rig).link()
    meta.denies = True
    assert "access_denied" in (await Person(rig).connect(link)).text
    meta.denies = False
    assert (await Person(rig).connect(link)).status_code == 200
    assert (await asking.shown())["status"] == "verified"


@on_sqlite
async def test_a_login_whose_token_could_not_be_exchanged_is_not_lost(rig: Rig, meta: WhatsApp) -> None:
    """It is stored with its hour, and exchanged before that is over."""
    meta.faults["access_token"].append(None)  # the code's exchange is carried out, and its answer is lost
    link = await about(rig).link()
    assert (await Person(rig).connect(link)).status_code == 400

    person = Person(rig)
    back = await person.go(link)
    fail(meta, "debug_token")
    assert (await person.open(back)).status_code == 200

    assert (await about(rig).token()).json()["expires_in"] <= 5400
    await pass_time(rig, meta, 5000 / DAY)
    assert (await about(rig).token()).json()["expires_in"] > 59 * DAY
    shown = await about(rig).shown()
    assert (shown["status"], shown["account"]) == ("verified", "77")


@on_sqlite
async def test_a_client_says_which_configuration_its_dialog_has(rig: Rig, meta: WhatsApp) -> None:
    """In place of scopes; and whether its codes come from an Embedded Signup, which has no address."""
    made = await register(rig, meta, settings={"config_id": "900"})
    assert made["secrets"]["current"]["settings"] == {"config_id": "900"}
    assert (await Person(rig).connect(await about(rig).link())).status_code == 200

    meta.signup = "901"
    await register(rig, meta, settings={"config_id": "901", "embedded_signup": True})
    link = await about(rig).link(replace_account=True)
    page = await Person(rig).connect(link)

    assert page.status_code == 200, page.text
    shown = await about(rig).shown()
    assert (shown["renewal"], shown["account"], "expires_at" in shown) == ("none", "1001", False)


@on_sqlite
@pytest.mark.parametrize("setting", [{"config_id": "900"}, {"embedded_signup": True}])
async def test_no_other_provider_has_these_settings(rig: Rig, setting: dict[str, Any]) -> None:
    """What would not be looked at is refused by name."""
    client = {"client_id": "x", "client_secret": "canary-x", "settings": setting}

    answer = await rig.api.put(f"/v1/clients/{TENANT}/google", json=client)

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert answer.json()["field"] == next(iter(setting))


async def test_the_code_of_a_signup_is_exchanged_in_the_call_that_brings_it(rig: Rig, meta: WhatsApp) -> None:
    """A page's script got it: it is handed in with the key of its program, and never stored."""
    code = meta.sign_up()

    made = await signed_up(rig, code)

    assert made.status_code == 201, made.text
    assert (made.json()["status"], made.json()["renewal"], made.json()["account"]) == ("verified", "none", "1001")
    assert (await about(rig).token()).json()["access_token"] in meta.tokens
    assert await rows_of(rig, "SELECT field FROM sealed_values WHERE field = 'credentials'") == []


@on_sqlite
async def test_a_code_that_is_no_good_takes_nothing_away(rig: Rig, meta: WhatsApp) -> None:
    """Too late, used, not to be tried, or not to be exchanged now: said, and what was there stays."""
    await signed_up(rig, meta.sign_up())
    kept = (await about(rig).token()).json()
    late, untried = meta.sign_up(), meta.sign_up()
    meta.pass_time(31)

    refused = [(await signed_up(rig, late)).json(), (await signed_up(rig, "AQ-canary-used")).json()]
    not_tried = await signed_up(rig, untried, verify=False)
    fail(meta, "access_token")
    refused.append((await signed_up(rig, meta.sign_up())).json())

    assert [one["reason"] for one in refused] == ["code_expired", "code_used", "code_not_exchanged"]
    assert {one["code"] for one in refused} == {"credentials_rejected"}
    assert (not_tried.status_code, not_tried.json()["field"]) == (422, "verify")
    assert (await about(rig).token()).json() | {"expires_in": 0} == kept | {"expires_in": 0}


# ---- the app


async def test_a_wrong_app_secret_is_nobodys_token(rig: Rig, meta: WhatsApp) -> None:
    """At the entry it is said of the client; at a renewal the connection waits for the client to be put right."""
    token = meta.issue()
    await enter(rig, token)
    meta.app_secret = "canary-reset"

    refused = await enter(rig, meta.issue())
    await pass_time(rig, meta, 45)

    assert (refused.status_code, refused.json()["code"]) == (409, "client_misconfigured")
    shown = await about(rig).shown()
    assert (shown["status"], shown["reason"], shown["next_action"]) == (
        "degraded",
        "client_rejected",
        "fix_client",
    )
    assert (await about(rig).token()).json()["access_token"] == token
    assert "warning" not in shown

    await pass_time(rig, meta, 2)
    assert (await about(rig).shown())["warning"] == "ends_within_14_days"  # whoever is to blame for it

    await register(rig, meta)
    await rig.vault.sweeper.once()
    assert (await about(rig).shown())["generation"] == 2


@on_sqlite
async def test_without_a_client_no_token_is_recognised(rig: Rig, meta: WhatsApp) -> None:
    """It takes the app that the token was made for."""
    assert (await rig.api.delete(f"/v1/clients/{TENANT}/whatsapp")).status_code == 204

    answer = await enter(rig, meta.issue())

    assert (answer.status_code, answer.json()["code"]) == (409, "no_client")


@on_sqlite
async def test_a_throttled_app_waits_as_long_as_meta_says(rig: Rig, meta: WhatsApp) -> None:
    """The minutes in its header are the whole provider's wait."""
    await enter(rig, meta.issue())
    usage = json.dumps({"1": [{"estimated_time_to_regain_access": 30}]})
    body = {"error": {"code": 80007, "type": "OAuthException"}}
    fail(meta, "debug_token", status=400, body=body, X_Business_Use_Case_Usage=usage)

    await pass_time(rig, meta, 45)

    shown = await about(rig).shown()
    assert (shown["reason"], shown["last_error_code"]) == ("rate_limited", "business_throttled")
    seen = await rig.vault.connections.get((TENANT, "whatsapp", "c"))
    held = seen.held_back_until()
    assert held is not None
    assert 29 * 60 < (held - seen.read_at).total_seconds() < 31 * 60


# ---- half a year


@on_sqlite
async def test_a_token_is_renewed_twenty_days_before_its_end_for_half_a_year(rig: Rig, meta: WhatsApp) -> None:
    """Every forty days or so, give or take four; never twice a day; what is served always lives."""
    await enter(rig, meta.issue())

    for _ in range(91):
        await pass_time(rig, meta, 2)
        token = meta.tokens[(await about(rig).token()).json()["access_token"]]
        assert meta.why_dead(token) is None

    exchanged = [line.at / DAY for line in meta.calls("access_token")]
    gaps = [after - before for before, after in pairwise([0.0, *exchanged])]
    assert len(exchanged) in {4, 5}
    assert all(36 <= gap <= 46 for gap in gaps)
    assert "warning" not in await about(rig).shown()
    assert await audited(rig, "connection.expiring") == []


@on_sqlite
async def test_a_token_that_cannot_be_renewed_is_warned_of_and_then_given_up(
    rig: Rig, meta: WhatsApp, caplog: pytest.LogCaptureFixture
) -> None:
    """Meta is away for two months: asked once a day, told of three times, over on time, and not asked again."""
    caplog.set_level(logging.WARNING, "vault.exchange.failing")
    await enter(rig, meta.issue())
    fail(meta, "debug_token", "access_token", times=1000)
    meta.ledger.clear()
    warned = dict[str, float]()  # what was shown first with how many days left

    await pass_time(rig, meta, 35)
    for half in range(1, 2 * 26):
        await pass_time(rig, meta, 1 / 2)
        if warning := (await about(rig).shown()).get("warning"):
            warned.setdefault(warning, 25 - half / 2)

    days = [line.at / DAY for line in meta.ledger]
    assert 15 <= len(days) <= 25
    assert all(after - before >= 0.99 for before, after in pairwise(days))
    assert days[0] >= 36
    assert days[-1] < 60
    assert {name: round(left) for name, left in warned.items()} == {
        "ends_within_14_days": 14,
        "ends_within_7_days": 7,
        "ends_within_1_days": 1,
    }
    told = [row["outcome"] for row in await audited(rig, "connection.expiring")]
    assert told == ["within_14_days", "within_7_days", "within_1_days"]
    assert [vars(record)["days"] for record in caplog.records if "days" in vars(record)] == [14, 7, 1]
    shown = await about(rig).shown()
    assert (shown["status"], shown["reason"], "warning" in shown) == ("failed", "expired", False)
    assert (await about(rig).token()).json()["code"] == "reconnect_required"


@on_sqlite
async def test_who_will_be_needed_is_listed(rig: Rig, meta: WhatsApp) -> None:
    """What a person lets the app see ends after 90 days, whatever is renewed: warned of, listed, then over."""
    await Person(rig).connect(await about(rig).link())
    for _ in range(10):
        await pass_time(rig, meta, 8)

    shown = await about(rig).shown()
    assert (shown["status"], shown["warning"]) == ("verified", "ends_within_14_days")
    listed = (await rig.api.get("/v1/connections", params={"expiring_within": 11 * DAY})).json()["items"]
    assert [one["name"] for one in listed] == ["c"]

    await pass_time(rig, meta, 11)
    await rig.api.post(f"{about(rig).path}/refresh")
    shown = await about(rig).shown()
    assert (shown["status"], shown["last_error_code"]) == ("failed", "data_access_expired")


# ---- moving


@on_sqlite
async def test_what_renews_itself_moves_with_its_client(
    rig: Rig, meta: WhatsApp, sqlite_template: Any, tmp_path: Path
) -> None:
    """Consented to, entered and signed up for: the tokens are served there, renewed there, and imported once."""
    await register(rig, meta, settings={"config_id": "900"})
    await Person(rig).connect(await about(rig, "consented").link())
    await rig.api.put(about(rig, "entered").path, json=_entry(meta.issue()))
    signup = {"kind": "embedded_signup", "credentials": {"code": meta.sign_up()}}
    await rig.api.put(about(rig, "signed-up").path, json=signup)
    names = ("consented", "entered", "signed-up")
    tokens = [(await about(rig, name).token()).json()["access_token"] for name in names]
    assert (await rig.api.post("/v1/tenants/platform/pause")).status_code == 200
    lines = lines_of((await exported(rig))[0])

    folder, endpoints = tmp_path / "fresh", {"whatsapp": meta.endpoints}
    async with a_fresh_vault(sqlite_template, folder, rig.provider, endpoints=endpoints) as fresh:
        first, again = told(await imported_lines(fresh, lines)), told(await imported_lines(fresh, lines))
        assert {code for _, code in first + again} == {None}
        assert {outcome for outcome, _ in again} == {"unchanged"}
        client = (await fresh.api.get(f"/v1/clients/{TENANT}/whatsapp")).json()
        assert client["secrets"]["current"]["settings"] == {"config_id": "900"}
        assert [(await about(fresh, name).token()).json()["access_token"] for name in names] == tokens
        await pass_time(fresh, meta, 45)
        shown = [await about(fresh, name).shown() for name in names]
        assert [(one["kind"], one["renewal"], one["generation"]) for one in shown] == [
            ("oauth2", "self_exchange", 2),
            ("access_token", "self_exchange", 2),
            ("access_token", "none", 2),
        ]


# ---- nothing leaks


@on_sqlite
async def test_no_address_is_told_by_anything_that_fails(rig: Rig, meta: WhatsApp, leaks: Leaks) -> None:
    """Secrets are in the addresses of all calls: lost answers, garbage, refusals and a Meta that is away."""
    await enter(rig, meta.issue())
    texts = list[str]()
    for fault in (None, json_answer({"error": "?"}, 400), json_answer([], 200), json_answer(BUSY, 500)):
        for call in ("debug_token", "access_token"):
            meta.faults[call].append(fault)
            texts.append((await rig.api.post(f"{about(rig).path}/refresh")).text)
            await age(rig, timedelta(days=1), "retry_not_before", "next_refresh_at")
    meta.faults.clear()
    await meta.__aexit__(None, None, None)
    texts.append((await rig.api.post(f"{about(rig).path}/verify")).text)
    texts.append((await rig.api.put(about(rig, "long").path, json=_entry("canary-" + "x" * 60_000))).text)
    texts.append((await rig.api.delete(about(rig).path, params={"revoke": "true"})).text)

    for text in texts:
        leaks.check(text)
    for row in await rows_of(rig, "SELECT detail FROM audit_events"):
        leaks.check(row.detail)


def _entry(token: str) -> dict[str, Any]:
    return {"kind": "access_token", "credentials": {"access_token": token}}


async def test_the_catalogue_has_whatsapp_with_its_three_ways(rig: Rig, meta: WhatsApp) -> None:
    """Endpoints as they are in force, a form for each way, and the settings that its clients have."""
    entry = (await rig.api.get("/v1/providers/whatsapp")).json()

    assert entry["endpoints"] == meta.endpoints
    assert [(kind["id"], kind["how"], kind["renewal"]) for kind in entry["kinds"]] == [
        ("oauth2", "consent", "self_exchange"),
        ("access_token", "enter", "self_exchange"),
        ("embedded_signup", "enter", "self_exchange"),
    ]
    assert [field["name"] for kind in entry["kinds"] for field in kind["fields"]] == ["access_token", "code"]
    assert all(kind["uses_client"] for kind in entry["kinds"])
    assert [field["name"] for field in entry["client_settings"]] == ["config_id", "embedded_signup"]
