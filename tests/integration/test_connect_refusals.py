"""What must not connect: forged, stale, stolen and mixed-up answers, and other people's accounts.

The judge of "nothing was asked of the provider" is the provider's own ledger.
"""

import asyncio
import base64
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from integrations.contract import Secret
from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.person import Asking, Person, change, parameters, rows_of, with_parameters
from tests.provider.orders import ConsentOrder
from tests.rig import PROVIDER, TENANT, Rig
from vault.keyring import Keyring
from vault.sealing import Place, open_one
from vault.store import sealed
from vault.store.database import sqlite_path

EVIL = "https://evil.example.test"


async def assert_refused(rig: Rig, page: httpx.Response, *, asked_before: int = 0) -> None:
    """A page that says the link is over, and not a word to the token endpoint."""
    assert page.status_code == 410, page.text
    assert "<h1>This link does not work any more</h1>" in page.text
    assert (await rig.provider.ledger()).token_requests == asked_before


async def ends(rig: Rig) -> list[str]:
    """Return the outcomes of the consents so far, as audited."""
    return [
        outcome
        for _, action, outcome, _ in await Asking(rig).audit()
        if action in {"connection.connected", "connection.connect_failed"}
    ]


# ---- return_url

LISTED = (
    "https://app.example.test/connected",
    "https://app.example.test/done?from=vault",
    "http://localhost:3000/cb",
)
NEARLY = (
    "https://app.example.test/connected/",
    "https://app.example.test/connected?",
    "https://app.example.test/connected#",
    "https://app.example.test/connected#fragment",
    "https://app.example.test/connected?a=b",
    "https://app.example.test/connected;a",
    "https://app.example.test/connecte",
    "https://app.example.test/connected2",
    "https://app.example.test/Connected",
    "https://app.example.test/%63onnected",
    "https://app.example.test/connected%20",
    "https://app.example.test/connected%2f",
    "https://app.example.test/connected%00",
    "https://app.example.test//connected",
    "https://app.example.test/./connected",
    "https://app.example.test/a/../connected",
    "https://app.example.test/connected/../evil",
    "https://app.example.test/connected/..%2fevil",
    "https://app.example.test/connected.evil.test",
    "https://app.example.test",
    "https://app.example.test/",
    "https://app.example.test:443/connected",
    "https://app.example.test:8443/connected",
    "https://app.example.test./connected",
    "https://app.example.test.evil.test/connected",
    "https://evil-app.example.test/connected",
    "https://evil.test/app.example.test/connected",
    "https://evil.test/https://app.example.test/connected",
    "https://evil.test?https://app.example.test/connected",
    "https://evil.test#https://app.example.test/connected",
    "https://app.example.test@evil.test/connected",
    "https://app.example.test%40evil.test/connected",
    "https://user:password@app.example.test/connected",
    "https://@app.example.test/connected",
    "https://evil.test\\@app.example.test/connected",
    "https://app.example.test\\.evil.test/connected",
    "https:\\\\app.example.test\\connected",
    "https:app.example.test/connected",
    "https:/app.example.test/connected",
    "https:///app.example.test/connected",
    "https:////evil.test/connected",
    "//app.example.test/connected",
    "//evil.test",
    "/\\evil.test",
    "/connected",
    "connected",
    "http://app.example.test/connected",
    "HTTPS://app.example.test/connected",
    "https://APP.example.test/connected",
    "https://аpp.example.test/connected",  # noqa: RUF001 - its first letter is Cyrillic
    "https://xn--pp-flc.example.test/connected",
    "https://app\u3002example.test/connected",
    "https://app.example\u2024test/connected",
    "https://app.example.test\uff0fconnected",
    "https://app.example.test/connected\u200b",
    " https://app.example.test/connected",
    "https://app.example.test/connected ",
    "https://*.example.test/connected",
    "https://app.example.test/*",
    "*",
    "https://127.0.0.1/connected",
    "https://[::1]/connected",
    "http://localhost:3001/cb",
    "http://localhost/cb",
    "http://127.0.0.1:3000/cb",
    "javascript:alert(1)",
    "javascript://app.example.test/connected%0aalert(1)",
    "data:text/html,connected",
    "https://app.example.test/done",
    "https://app.example.test/done?from=vault&code=1",
    "https://app.example.test/done?from=Vault",
    "https://app.example.test/done?from%3Dvault",
    "null",
)
NOT_EVEN_TEXT = (
    "",
    "https://app.example.test/connected\n",
    "https://app.example.test\t/connected",
    "\x00",
    "\r\n//x",
)


@on_sqlite
async def test_only_a_listed_return_url_is_taken_to_the_letter(rig: Rig) -> None:
    """What differs from the listed addresses in anything at all is refused with 422, and makes no link."""
    body = {"name": "Acme", "return_urls": list(LISTED)}
    assert (await rig.api.put(f"/v1/tenants/{TENANT}", json=body)).status_code == 200
    await rig.api.put("/v1/tenants/below", json={"name": "Below", "parent": TENANT})
    assert len(set(NEARLY)) == len(NEARLY) >= 40

    for url in NEARLY:
        answer = await Asking(rig).authorize(return_url=url)
        assert (answer.status_code, answer.json().get("code")) == (422, "invalid_return_url"), url
    for url in NOT_EVEN_TEXT:
        assert (await Asking(rig).authorize(return_url=url)).status_code in {400, 422}, url
    of_parent = await Asking(rig, tenant="below").authorize(return_url=LISTED[0])
    assert (of_parent.status_code, of_parent.json()["code"]) == (422, "invalid_return_url")
    assert await rows_of(rig, "SELECT id FROM tickets") == []
    for url in LISTED:
        assert (await Asking(rig).authorize(return_url=url)).status_code == 201, url


@on_sqlite
async def test_a_page_without_a_known_state_sends_nobody_anywhere(rig: Rig) -> None:
    """Where nobody knows who began it, parameters of the address do not lead on."""
    person = Person(rig)
    for name in ("return_url", "redirect_uri", "next", "url"):
        page = await person.open(f"http://127.0.0.1:8000/oauth/callback/{PROVIDER}?{name}={quote(EVIL)}&state=x")
        await assert_refused(rig, page)
        assert "location" not in page.headers
        assert "evil" not in page.text


# ---- state


@on_sqlite
async def test_an_answer_in_another_browser_is_refused_before_the_provider_is_asked(rig: Rig) -> None:
    """Without the cookie, or with another browser's, a valid code goes nowhere, and in the right one it works."""
    asking, person, attacker = Asking(rig), Person(rig), Person(rig)
    link = await asking.link()
    back = await person.go(link)
    await attacker.visit(link)

    await assert_refused(rig, await Person(rig).open(back))
    await assert_refused(rig, await attacker.open(back))
    await assert_refused(rig, await Person(rig).open(back, cookie="tv_browser="))
    assert (await asking.shown())["reason"] == "awaiting_consent"

    assert (await person.open(back)).status_code == 200


async def test_a_state_is_good_for_one_answer(rig: Rig) -> None:
    """Sent again, after a refusal that left the link open, it is refused before the provider is asked."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    asked = await person.visit(link)
    await rig.provider.consent(error="access_denied")
    denied = await person.consent(asked)
    state = parameters(denied)["state"]
    assert (await person.open(denied)).status_code == 400

    back = await person.consent(asked)  # the provider is asked anew with the same state, and agrees
    assert parameters(back)["state"] == state
    await assert_refused(rig, await person.open(back))

    assert (await person.connect(link)).status_code == 200


async def test_a_state_that_comes_back_twice_at_once_is_exchanged_once(rig: Rig) -> None:
    """Of a double click, or a browser that asks again, one gets the result and the others the page."""
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())

    pages = await asyncio.gather(*(person.open(back) for _ in range(8)))

    assert sorted(page.status_code for page in pages) == [200] + 7 * [410]
    assert (await rig.provider.ledger()).token_requests == 1


async def test_a_state_ends_after_ten_minutes(rig: Rig) -> None:
    """A late answer is refused before the provider is asked, and the link begins anew."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    back = await person.go(link)
    assert await change(rig, "UPDATE pending_authorizations SET expires_at = expires_at - 600000") == 1

    await assert_refused(rig, await person.open(back))

    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_an_answer_at_another_providers_address_is_refused(rig: Rig) -> None:
    """RELIABILITY T30: what one server began does not end at the callback of another one."""
    await rig.api.put("/v1/providers/other", json={"issuer": rig.provider.issuer})
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await rig.api.put(f"/v1/clients/{TENANT}/other", json=client)
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())

    for provider in ("other", "unheard-of"):
        await assert_refused(rig, await person.open(back.replace(f"/{PROVIDER}?", f"/{provider}?")))

    assert (await person.open(back)).status_code == 200


@on_sqlite
async def test_a_state_of_nobodys_is_refused(rig: Rig) -> None:
    """Missing, empty, guessed, cut, or sent twice: there is no visit that it belongs to."""
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())
    state = parameters(back)["state"]

    for wrong in (None, "", "x", state[:-1], state + "=", state.swapcase(), "%00", "ÿ", "x" * 4000):
        await assert_refused(rig, await person.open(with_parameters(back, state=wrong)))
    await assert_refused(rig, await person.open(f"{back}&state={state}"))
    await assert_refused(rig, await person.open(f"{back}&state=x"))
    await assert_refused(rig, await person.open(back.partition("?")[0]))

    assert (await person.open(back)).status_code == 200


@on_sqlite
@pytest.mark.parametrize("name", ["code", "iss", "error"])
async def test_an_answer_that_says_something_twice_says_nothing(rig: Rig, name: str) -> None:
    """RFC 6749 3.1 forbids it, and whoever could add a parameter shall not be able to hide one."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    back = await person.go(link)
    value = parameters(back).get(name, "access_denied")

    page = await person.open(f"{back}&{name}={quote(value)}&{name}={quote(EVIL)}")

    assert (page.status_code, "authorization_failed" in page.text) == (400, True)
    assert (await rig.provider.ledger()).token_requests == 0
    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_an_answer_with_a_great_many_parameters_costs_little(rig: Rig) -> None:
    """Anybody may open the callback: a long query must not keep the process busy."""
    person, many = Person(rig), "&".join(f"{number:x}=1" for number in range(9_000))
    started = time.process_time()

    await assert_refused(rig, await person.open(f"http://127.0.0.1:8000/oauth/callback/{PROVIDER}?{many}"))

    assert time.process_time() - started < 1


# ---- links


async def test_a_link_ends_when_it_said_it_would(rig: Rig) -> None:
    """After its end a link begins nothing, and a visit that began before cannot finish."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    back = await person.go(link)
    assert await change(rig, "UPDATE tickets SET expires_at = expires_at - 7 * 86400000") == 1

    await assert_refused(rig, await person.open(link))
    await assert_refused(rig, await person.open(back))
    ((begun,),) = await rows_of(rig, "SELECT count(*) FROM pending_authorizations")
    assert begun == 1


@on_sqlite
async def test_a_link_that_was_tampered_with_is_refused(rig: Rig) -> None:
    """The id of a ticket, which the database holds, is no link without its proof."""
    one, other = await Asking(rig).link(), await Asking(rig, "other").link()
    base, _, ticket = one.rpartition("/")
    identity, _, proof = ticket.partition(".")
    foreign_proof = other.rpartition(".")[2]
    wrong = (
        identity,
        f"{identity}.",
        f".{proof}",
        "x",
        f"{identity}.{foreign_proof}",
        f"{identity}.{proof[:-1]}",
        f"{identity}.{proof}0",
        f"{identity}.{proof.upper()}" if proof.upper() != proof else f"{identity}.x",
        f"{identity}.{proof}.{proof}",
        f"{identity[:-1]}.{proof}",
        f"{identity}%00.{proof}",
        f"{identity}.{proof}%C3%BF",
        f"{identity} .{proof}",
        f"{proof}.{identity}",
        "0" * 32 + "." + "0" * 32,
    )

    for ticket in wrong:
        await assert_refused(rig, await Person(rig).open(f"{base}/{ticket}"))
    assert await rows_of(rig, "SELECT provider FROM pending_authorizations") == []


async def test_a_link_dies_with_its_connection(rig: Rig) -> None:
    """Neither the link nor a visit under way connects what was deleted, or what has its name now."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    back = await person.go(link)
    await rig.api.delete(asking.path)

    await assert_refused(rig, await person.open(link))
    await assert_refused(rig, await person.open(back))
    new = await asking.link()
    await assert_refused(rig, await person.open(link))
    await assert_refused(rig, await person.open(back))

    assert (await person.connect(new)).status_code == 200


# ---- which server answered


@on_sqlite
@pytest.mark.parametrize("known", [True, False], ids=["known to name itself", "not known to"])
async def test_an_answer_of_another_server_is_refused_before_ours_is_asked(
    replicas: Replicas, known: bool
) -> None:
    """RFC 9207: a wrong `iss` always, and a missing one where the server is known to send it, success or error."""
    rig = await replicas({"authorization_response_iss_parameter_supported": known})
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    issuer = rig.provider.issuer

    for wrong in (EVIL, f"{issuer}/", issuer.upper(), f"{issuer}.evil.test", "x"):
        orders: list[ConsentOrder] = [{"iss": wrong}, {"iss": wrong, "error": "access_denied"}]
        for consent in orders:
            await rig.provider.consent(**consent)
            page = await person.connect(link)
            assert (page.status_code, "iss_mismatch" in page.text) == (400, True), consent
            assert EVIL not in page.text
    assert (await rig.provider.ledger()).token_requests == 0

    await rig.provider.consent(iss="", error="access_denied")
    denied = await person.connect(link)
    await rig.provider.consent(iss="")
    unnamed = await person.connect(link)
    assert ("iss_missing" if known else "access_denied") in denied.text
    assert unnamed.status_code == (400 if known else 200)
    assert ("iss_missing" in unnamed.text) is known
    assert (await rig.provider.ledger()).token_requests == (0 if known else 1)


# ---- the person said no, or the provider did

WORDS = {
    "access_denied": "access_denied",
    "invalid_request": "invalid_request",
    "unauthorized_client": "unauthorized_client",
    "unsupported_response_type": "unsupported_response_type",
    "invalid_scope": "invalid_scope",
    "server_error": "server_error",
    "temporarily_unavailable": "temporarily_unavailable",
    "login_required": "login_required",
    "canary-word": "authorization_failed",
    "<script>alert('canary-1')</script>": "authorization_failed",
    "'\"><img src=x onerror=canary()>": "authorization_failed",
    "access_denied\r\nSet-Cookie: canary-=1": "authorization_failed",
    "ACCESS_DENIED": "authorization_failed",
    "connected": "authorization_failed",
    "{code} %s canary-": "authorization_failed",
    "x" * 3000: "authorization_failed",
}


@on_sqlite
async def test_a_providers_error_becomes_a_word_of_ours(rig: Rig, leaks: Leaks) -> None:
    """Standard words are told; free text of the provider is in no page, header, audit row or stored value."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()

    for error, code in WORDS.items():
        await rig.provider.consent(error=error, error_description="canary-description <script>")
        page = await person.connect(link)
        assert page.status_code == 400, error
        assert f"<small>{code}</small>" in page.text, error
        assert "<script" not in page.text
        assert "<img" not in page.text
        leaks.check(page.text)
        leaks.check(str(page.headers))
        assert [name for name in page.headers if name == "set-cookie"] == []

    assert await ends(rig) == list(WORDS.values())
    leaks.check(str(await rows_of(rig, "SELECT detail, outcome, actor FROM audit_events")))
    assert (await rig.provider.ledger()).token_requests == 0
    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_an_error_beside_a_code_is_an_error(rig: Rig) -> None:
    """A code is not sent where the same answer says that something failed, nor is one made up where none came."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()

    both = await person.open(f"{await person.go(link)}&error=access_denied")
    neither = await person.open(with_parameters(await person.go(link), code=None))
    empty = await person.open(with_parameters(await person.go(link), code=""))

    assert "access_denied" in both.text
    assert "authorization_failed" in neither.text
    assert "authorization_failed" in empty.text
    assert (await rig.provider.ledger()).token_requests == 0


@on_sqlite
async def test_pages_load_and_run_nothing(rig: Rig) -> None:
    """Whatever they show: HTML, uncached, unframed, without script, and a policy that would stop one."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    await rig.provider.consent(error="access_denied")
    pages = [await person.connect(link), await person.connect(link), await person.open(link)]
    pages.append(await person.open(f"http://127.0.0.1:8000/oauth/callback/{PROVIDER}"))

    assert [page.status_code for page in pages] == [400, 200, 410, 410]
    for page in pages:
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "<script" not in page.text
        assert re.search(r"\son\w+=|javascript:|<(link|img|form|iframe)", page.text) is None


# ---- codes and accounts


@on_sqlite
async def test_a_code_of_another_visit_is_worth_nothing(rig: Rig) -> None:
    """PKCE: a code put into somebody else's answer does not fit the verifier there, and nothing is stored."""
    victim, thief = Person(rig), Person(rig)
    mine, theirs = Asking(rig, "mine"), Asking(rig, "theirs")
    stolen = parameters(await victim.go(await mine.link()))["code"]
    back = await thief.go(await theirs.link())

    page = await thief.open(with_parameters(back, code=stolen))

    assert (page.status_code, "invalid_grant" in page.text) == (400, True)
    assert (await theirs.shown())["reason"] == "awaiting_consent"
    assert (await rig.provider.ledger()).families == []


@on_sqlite
async def test_another_account_is_refused_and_given_back(rig: Rig) -> None:
    """Reconnecting as somebody else changes nothing, and ends the grant that came of it at the provider."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())
    before, served = await asking.shown(), (await asking.token()).json()["access_token"]
    link = await asking.link()

    await rig.provider.consent(subject="account-2")
    page = await person.connect(link)

    ledger = await rig.provider.ledger()
    mine, theirs = ledger.families
    assert (page.status_code, "account_mismatch" in page.text) == (400, True)
    assert "account-2" not in page.text
    assert await asking.shown() == before
    assert (await asking.token()).json()["access_token"] == served
    assert ledger.is_alive_access(served)
    assert ledger.revoked_families == {theirs}
    assert ledger.of("issued", mine)[0]["access_token"] == served
    assert (await ends(rig))[-1] == "account_mismatch"
    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_another_account_is_taken_where_that_was_asked_for(rig: Rig) -> None:
    """`replace_account` makes the next consent whoever's it is, once; the next link is for that account."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())

    await rig.provider.consent(subject="account-2")
    page = await person.connect(await asking.link(replace_account=True))
    assert page.status_code == 200
    shown = await asking.shown()
    assert (shown["account"], shown["account_label"]) == ("account-2", "account-2@example.test")
    assert (await rig.provider.ledger()).revoked_families == set()

    back_again = await person.connect(await asking.link())
    assert "account_mismatch" in back_again.text


@on_sqlite
async def test_an_account_that_nobody_names_is_not_taken_for_the_stored_one(rig: Rig) -> None:
    """Where openid was asked for and no ID token came, the connection does not claim to be the old account's."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())
    served = (await asking.token()).json()["access_token"]

    async def namelessly(**body: Any) -> httpx.Response:
        await rig.provider.consent(subject="account-2")
        await rig.provider.fault(drop=["id_token"])
        return await person.connect(await asking.link(**body))

    refused = await namelessly()
    assert (refused.status_code, "account_unknown" in refused.text) == (400, True)
    assert (await asking.token()).json()["access_token"] == served
    ledger = await rig.provider.ledger()
    assert ledger.revoked_families == {ledger.families[-1]}

    await rig.provider.configure(issue_refresh_token=False)
    assert (await namelessly(replace_account=True)).status_code == 200
    shown = await asking.shown()
    assert "account" not in shown
    assert shown["renewal"] == "none"  # the refresh token that is stored is the old account's


def id_token(claims: Any) -> str:
    """Return *claims* as an ID token. Its signature is not looked at: TLS to the token endpoint stands in."""
    parts = (json.dumps({"alg": "RS256"}).encode(), json.dumps(claims).encode(), b"canary-signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


REFUSED_CLAIMS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "id_token_audience": ("aud", ("client-2", ["client-2"], [], "", None, {"client-1": 1}, "client-1 ")),
    "id_token_issuer": ("iss", (EVIL, None, [EVIL], "", 1)),
    "id_token_nonce": ("nonce", ("canary-nonce", None, "", ["canary-nonce"])),
    "id_token_expired": ("exp", (1_600_000_000, 0, -1, None, "tomorrow", "99999999999", float("nan"), 1e999)),
    "id_token_subject": ("sub", (None, "", 17, ["account-1"], "account\x00", "\ud800")),
}
MALFORMED = ("canary-not-a-token", "a.b", "a.!.c", "..", f"{id_token({})}.x", id_token([]), "é.é.é")


@on_sqlite
async def test_an_id_token_that_is_not_for_us_refuses_the_grant(rig: Rig, leaks: Leaks) -> None:
    """Wrong audience, issuer, nonce, time or subject: nothing is stored, and the grant is given back."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    good = {"iss": rig.provider.issuer, "aud": rig.provider.client_id, "sub": "account-1"}

    async def answered(token: str | None = None, **changed: Any) -> httpx.Response:
        asked = await person.visit(link)
        claims = good | {"exp": int(time.time()) + 600, "nonce": parameters(asked)["nonce"]} | changed
        present = {name: value for name, value in claims.items() if value is not None}
        await rig.provider.fault(patch={"id_token": token or id_token(present)})
        return await person.open(await person.consent(asked))

    for word, (claim, values) in REFUSED_CLAIMS.items():
        for value in values:
            page = await answered(**{claim: value})
            assert (page.status_code, word in page.text) == (400, True), (claim, value)
            leaks.check(page.text)
    for token in MALFORMED:
        assert (await answered(token)).status_code == 400, token

    ledger = await rig.provider.ledger()
    assert (await asking.shown())["reason"] == "awaiting_consent"
    assert len(ledger.families) == 30 + len(MALFORMED)
    assert ledger.revoked_families == set(ledger.families)
    # The same claims with nothing wrong in them, and as much as the standard allows, connect.
    assert (await answered(aud=["other", "client-1"], exp=int(time.time()) - 200)).status_code == 200
    assert (await asking.shown())["account"] == "account-1"


# ---- what is at rest


async def test_no_secret_of_a_consent_is_at_rest_in_the_clear(rig: Rig, store: Store) -> None:
    """Not in any byte: states, cookies, links, verifiers, codes, tokens, the client's secret, the API key."""
    asking, person = Asking(rig), Person(rig)
    for _ in range(2):
        await person.connect(await asking.link())
    refused_link = await asking.link()
    await rig.provider.consent(subject="account-2")
    await person.connect(refused_link)
    under_way = await person.go(refused_link)  # its state and its verifier are alive

    found = everything(store) if store.on_sqlite else await everything_as_text(rig)

    tickets = {url.rpartition("/")[2] for url in person.seen if "/connect/" in url}
    secrets = {
        **{f"state {n}": one["state"] for n, one in enumerate(answers_of(person))},
        **{f"code {n}": one["code"] for n, one in enumerate(answers_of(person))},
        **{f"nonce {n}": one["nonce"] for n, one in enumerate(requests_of(person))},
        **{f"link {n}": ticket for n, ticket in enumerate(tickets)},
        **{f"proof {n}": ticket.partition(".")[2] for n, ticket in enumerate(tickets)},
        "cookie": person.cookies["tv_browser"],
        "verifier": await verifier_of(rig, parameters(under_way)["state"]),
        "client secret": rig.provider.client_secret,
        "API key": rig.api.headers["Authorization"].removeprefix("Bearer "),
        "canary": "canary-",
        "JWT": "eyJhbGciOi",
    }
    for number, issued in enumerate((await rig.provider.ledger()).of("issued")):
        secrets |= {f"access {number}": issued["access_token"], f"refresh {number}": issued["refresh_token"]}
    assert len(secrets) > 25
    # The search does find what is there: ids of tickets, the account, and a digest in each of its spellings.
    for known in (next(iter(tickets)).partition(".")[0], "account-1@example.test", "connection.connected"):
        assert hits(found, known), known
    assert hits(found, rig.vault.keyring.mac("state", parameters(under_way)["state"]))
    leaking = {name for name, value in secrets.items() if hits(found, value)}
    assert leaking == set()


def answers_of(person: Person) -> list[dict[str, str]]:
    return [parameters(url) for url in person.seen if "/oauth/callback/" in url]


def requests_of(person: Person) -> list[dict[str, str]]:
    return [parameters(url) for url in person.seen if urlsplit(url).path == "/authorize"]


async def verifier_of(rig: Rig, state: str) -> str:
    keyring: Keyring = rig.vault.keyring
    owner = keyring.mac("state", state).hex()
    async with rig.vault.database.read() as tx:
        values = await sealed.load(tx, "authorization", owner)
    opened: Secret = open_one(
        keyring, Place(TENANT, PROVIDER, "authorization", owner), "code_verifier", values["code_verifier"]
    )
    return opened.reveal()


def everything(store: Store) -> bytes:
    """Return every byte of a SQLite database and of what lies beside it."""
    path = sqlite_path(store.url)
    assert path is not None
    return b"".join(file.read_bytes() for file in sorted(Path(path.parent).glob(f"{path.name}*")))


async def everything_as_text(rig: Rig) -> bytes:
    """Return every row of every table of a PostgreSQL database; binary columns come as hex."""
    tables = await rows_of(rig, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert len(tables) > 10
    rows = [
        row for (table,) in tables for row in await rows_of(rig, f'SELECT CAST(one AS text) FROM "{table}" one')
    ]
    return "\n".join(row[0] for row in rows).encode()


def hits(found: bytes, value: str | bytes) -> bool:
    """Say whether *value* is in *found*, in any spelling that somebody could have given it."""
    raw = value.encode() if isinstance(value, str) else value
    spellings = {
        raw,
        raw.hex().encode(),
        base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
    }
    if isinstance(value, str):
        spellings |= {value.encode("utf-16-le"), quote(value, safe="").encode(), json.dumps(value)[1:-1].encode()}
    if len(raw) == 43:  # 32 random bytes, as base64 writes them
        inner = base64.urlsafe_b64decode(raw + b"=")
        spellings |= {inner, inner.hex().encode()}
    lowered = found.lower()
    return any(one in found or one.lower() in lowered for one in spellings)
