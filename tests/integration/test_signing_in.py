"""Signing in to the pages: from the link over its button to the overview, and out again."""

import asyncio
import base64
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.person import Person, change, rows_of
from tests.rig import PROVIDER, TENANT, Rig
from vault.signing_in import LINK_LIFETIME, SESSION_LIFETIME

HOME = "http://127.0.0.1:8000"


async def new_link(rig: Rig) -> str:
    link, _ = await rig.vault.signing_in.link()
    return link.reveal()


def from_own_page(home: str = HOME) -> dict[str, str]:
    """Return what a browser says of a form that was sent from our own page."""
    return {"origin": home, "sec-fetch-site": "same-origin"}


async def press(person: Person, url: str, **headers: str) -> httpx.Response:
    """Send the one form of a page of ours."""
    return await person.open(url, "POST", **(headers or from_own_page()))


async def signed_in(rig: Rig) -> Person:
    person = Person(rig)
    home = rig.vault.settings.public_url
    answer = await press(person, await new_link(rig), **from_own_page(home))
    assert answer.status_code == 303, answer.text
    return person


async def count(rig: Rig, table: str) -> int:
    ((found,),) = await rows_of(rig, f"SELECT count(*) FROM {table}")
    return int(found)


async def audited(rig: Rig) -> list[tuple[str, str, str]]:
    rows = await rows_of(
        rig,
        "SELECT actor, action, outcome FROM audit_events WHERE action LIKE 'operator.%' ORDER BY at, stream, seq",
    )
    return [tuple(row) for row in rows]


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """Check the page that says in words why there is no other; nobody is signed in by it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert f"<small>{code}</small>" in answer.text
    assert "set-cookie" not in answer.headers


# ---- the whole way


async def test_an_operator_signs_in_looks_and_signs_out(rig: Rig, leaks: Leaks) -> None:
    """Link, button, overview, out: each step leads to the next, both ends are audited, and no secret is shown."""
    _, grant = await rig.a_connection("mail")
    person = Person(rig)
    link = await new_link(rig)

    for _ in range(2):  # looking, as a link preview does, uses nothing up
        asked = await person.open(link)
        assert asked.status_code == 200
        assert re.findall("<(?:form|button|input|a)[^>]*>", asked.text) == [
            '<form method="post">',
            "<button autofocus>",
        ]
    went_in = await press(person, link)
    shown = await person.open(went_in.headers["location"])
    went_out = await press(person, f"{HOME}/logout")

    assert (went_in.status_code, went_in.headers["location"]) == (303, f"{HOME}/")
    assert shown.status_code == 200
    assert f"{TENANT}/{PROVIDER}/mail" in shown.text
    assert ">configured<" in shown.text
    assert "<small>unverified</small>" in shown.text
    assert "in 59 minutes" in shown.text
    leaks.check(shown.text)
    assert grant.access_token not in shown.text
    assert grant.refresh_token not in shown.text
    assert (went_out.status_code, went_out.headers["location"]) == (303, f"{HOME}/")
    assert await audited(rig) == [
        ("operator", "operator.signed_in", "ok"),
        ("operator", "operator.signed_out", "ok"),
    ]


@on_sqlite
async def test_who_is_not_signed_in_is_told_how_to_be(rig: Rig) -> None:
    """No cookie, or one that is not ours: 401 with the command that makes a link, and nothing of what there is."""
    await rig.a_connection("mail")
    for sent in (None, "", "x", "a" * 43, "%FF%FE", '"', "%C3%A9" * 43, "a" * 9000):
        headers = {} if sent is None else {"cookie": f"tv_session={sent}"}
        answer = await Person(rig).open(f"{HOME}/", **headers)

        refused(answer, 401, "not_signed_in")
        assert "tokenvault login-link" in answer.text
        assert answer.headers["www-authenticate"].startswith("Cookie ")
        assert "mail" not in answer.text


# ---- the link


async def test_of_two_who_press_the_button_at_once_one_is_signed_in(replicas: Replicas) -> None:
    """However many browsers send one link at once, to whichever replica: one session begins."""
    one, two = await replicas(), await replicas()
    for _ in range(3):
        link = await new_link(one)
        answers = await asyncio.gather(*(press(Person(rig), link) for rig in (one, two) * 3))

        assert sorted(answer.status_code for answer in answers) == [303, *[410] * 5]
    assert await count(one, "sessions") == 3
    assert len(await audited(one)) == 3


@on_sqlite
async def test_a_link_that_is_used_late_or_unknown_is_refused_in_words(rig: Rig) -> None:
    """All of them alike, at the look and at the button; a link is good for ten minutes by the database's clock."""
    used, late = await new_link(rig), await new_link(rig)
    ((left,),) = await rows_of(rig, "SELECT max(expires_at) FROM sign_ins")
    _, told = await rig.vault.signing_in.link()
    assert timedelta(0) <= told - told.fromtimestamp(left / 1000, told.tzinfo) < timedelta(minutes=1)
    assert (await press(Person(rig), used)).status_code == 303
    keep = "SELECT digest FROM sign_ins WHERE used_at IS NOT NULL"
    await change(rig, f"UPDATE sign_ins SET expires_at = 1 WHERE digest NOT IN ({keep})")
    unknown = f"{HOME}/login/{'a' * 43}"

    for link in (used, late, unknown, f"{HOME}/login/x", f"{HOME}/login/%FF", f"{HOME}/login/{'%C3%A9' * 43}"):
        refused(await Person(rig).open(link), 410, "gone")
        refused(await press(Person(rig), link), 410, "gone")
    assert await count(rig, "sessions") == 1


@on_sqlite
async def test_link_and_session_last_as_long_as_is_said(rig: Rig) -> None:
    """Ten minutes and twelve hours; the session's end does not move with its use."""
    await new_link(rig)
    person = await signed_in(rig)
    before = await rows_of(rig, "SELECT created_at, expires_at FROM sessions")

    await person.open(f"{HOME}/")

    ((began, ends),) = await rows_of(rig, "SELECT created_at, expires_at FROM sessions")
    assert [(began, ends)] == [tuple(row) for row in before]
    assert (timedelta(minutes=10), timedelta(hours=12)) == (LINK_LIFETIME, SESSION_LIFETIME)
    assert abs(timedelta(milliseconds=ends - began) - SESSION_LIFETIME) < timedelta(seconds=1)
    await change(rig, "UPDATE sessions SET expires_at = 1")
    refused(await person.open(f"{HOME}/"), 401, "not_signed_in")


async def test_what_is_stored_signs_nobody_in(rig: Rig) -> None:
    """Neither link nor cookie is in the database, as it is or decoded: only hashes under the vault's key are."""
    link = await new_link(rig)
    person = Person(rig)
    await press(person, link)
    token, session = link.rpartition("/")[2], person.cookies["tv_session"]

    stored = {
        bytes(digest)
        for (digest,) in await rows_of(rig, "SELECT digest FROM sign_ins UNION SELECT digest FROM sessions")
    }

    keyring = rig.vault.keyring
    assert stored == {keyring.mac("sign-in", token), keyring.mac("session", session)}
    for digest in stored:
        name = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        refused(await press(Person(rig), f"{HOME}/login/{name}"), 410, "gone")
        refused(await Person(rig).open(f"{HOME}/", cookie=f"tv_session={name}"), 401, "not_signed_in")


# ---- from where it is sent

FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "whatever-comes-next"},
    {"origin": "https://evil.example.test"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:8001"},
    {"origin": "https://127.0.0.1:8000"},
    {"origin": "http://127.0.0.1:8000.evil.example.test"},
    {"origin": HOME, "sec-fetch-site": "cross-site"},
    {"origin": "https://evil.example.test", "sec-fetch-site": "same-origin"},
]


@on_sqlite
async def test_what_another_site_sends_is_refused(rig: Rig) -> None:
    """A foreign page can send neither button; the link stays good, and whoever was signed in stays so."""
    link, person = await new_link(rig), await signed_in(rig)

    for headers in FOREIGN:
        refused(await press(Person(rig), link, **headers), 403, "cross_site")
        refused(await press(person, f"{HOME}/logout", **headers), 403, "cross_site")

    assert (await person.open(f"{HOME}/")).status_code == 200
    assert (await press(Person(rig), link)).status_code == 303


@on_sqlite
async def test_what_our_own_page_sends_is_taken(rig: Rig) -> None:
    """Whatever of the two headers a browser knows, and a reload, which comes from nobody."""
    own: list[dict[str, str]] = [
        from_own_page(),
        {"origin": HOME},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"accept": "*/*"},
    ]
    for headers in own:
        assert (await press(Person(rig), await new_link(rig), **headers)).status_code == 303


@on_sqlite
async def test_an_origin_is_compared_as_browsers_write_it(replicas: Replicas) -> None:
    """PUBLIC_URL may name https's own port, and be in capitals; an Origin never is."""
    rig = await replicas(public_url="https://Vault.example.test:443")

    for origin, status in (("https://vault.example.test", 303), ("https://vault.example.test:444", 403)):
        assert (await press(Person(rig), await new_link(rig), origin=origin)).status_code == status


@on_sqlite
async def test_a_browser_can_say_where_a_form_came_from(rig: Rig) -> None:
    """Under `no-referrer` it would send `Origin: null`, and be refused; the link in the address is kept back."""
    person = await signed_in(rig)

    for url in (await new_link(rig), f"{HOME}/"):
        assert (await person.open(url)).headers["referrer-policy"] == "strict-origin"


# ---- the cookie


@on_sqlite
@pytest.mark.parametrize("home", ["http://127.0.0.1:8000", "http://localhost:8000", "https://vault.example.test"])
async def test_the_sessions_cookie_is_as_strict_as_the_address_allows(replicas: Replicas, home: str) -> None:
    """`__Host-` and Secure under https, a plain name on loopback; HttpOnly, Strict, for half a day, always."""
    rig = await replicas(public_url=home)
    person = Person(rig)

    went_in = await press(person, await new_link(rig), **from_own_page(home))

    name, value, attributes = cookie_of(went_in)
    secure = home.startswith("https")
    wanted = {"httponly", "samesite=strict", "path=/", *(["secure"] if secure else [])}
    assert name == ("__Host-tv_session" if secure else "tv_session")
    assert len(base64.urlsafe_b64decode(value + "=")) == 32
    assert attributes == wanted | {"max-age=43200"}
    assert went_in.headers["location"] == f"{home}/"
    assert (await person.open(f"{home}/")).status_code == 200
    gone = cookie_of(await press(person, f"{home}/logout", **from_own_page(home)))
    assert (gone[0], gone[1].strip('"'), gone[2]) == (name, "", wanted | {"max-age=0"})
    assert name not in person.cookies


def cookie_of(answer: httpx.Response) -> tuple[str, str, set[str]]:
    (cookie,) = answer.headers.get_list("set-cookie")
    pair, *attributes = [part.strip() for part in cookie.split(";")]
    name, _, value = pair.partition("=")
    return name, value, {attribute.lower() for attribute in attributes}


@on_sqlite
async def test_nobody_signs_in_over_plain_http_beyond_this_machine(replicas: Replicas) -> None:
    """A cookie that could be read on the way is not given out: every page says that PUBLIC_URL must be https."""
    home = "http://vault.example.test"
    rig = await replicas(public_url=home)
    link, own = await new_link(rig), from_own_page(home)

    for answer in (
        await Person(rig).open(link),
        await press(Person(rig), link, **own),
        await Person(rig).open(f"{home}/"),
        await press(Person(rig), f"{home}/logout", **own),
    ):
        refused(answer, 403, "https_required")
        assert "PUBLIC_URL must be https" in answer.text
    assert await count(rig, "sessions") == 0


# ---- and out again


async def test_signing_out_ends_the_session_everywhere(replicas: Replicas) -> None:
    """The cookie is worthless from then on, at every replica at once; other browsers stay signed in."""
    one, two = await replicas(), await replicas()
    person, other = await signed_in(one), await signed_in(two)
    kept = {"cookie": f"tv_session={person.cookies['tv_session']}"}
    assert (await Person(two).open(f"{HOME}/", **kept)).status_code == 200

    await press(person, f"{HOME}/logout")

    for rig in (one, two):
        refused(await Person(rig).open(f"{HOME}/", **kept), 401, "not_signed_in")
        refused(await press(Person(rig), f"{HOME}/logout", **kept, **from_own_page()), 401, "not_signed_in")
    assert (await other.open(f"{HOME}/")).status_code == 200


async def test_housekeeping_clears_away_what_has_ended(rig: Rig) -> None:
    """Links and sessions go once their time is over; those that still count stay, used links among them."""
    await new_link(rig)
    await signed_in(rig)
    await change(rig, "UPDATE sign_ins SET expires_at = 1")
    await change(rig, "UPDATE sessions SET expires_at = 1")
    person = await signed_in(rig)
    await new_link(rig)

    await rig.vault.tidy()

    assert (await count(rig, "sign_ins"), await count(rig, "sessions")) == (2, 1)
    assert (await person.open(f"{HOME}/")).status_code == 200


# ---- what is shown


@on_sqlite
async def test_a_providers_label_is_text_on_the_page(rig: Rig) -> None:
    """What a provider calls an account is shown, and is never markup."""
    await rig.a_connection("mail")
    label = "<script>alert(1)</script>'\"&"
    await change(rig, "UPDATE connections SET account_label = :label", label=label)

    shown = await (await signed_in(rig)).open(f"{HOME}/")

    assert "<script" not in shown.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#x27;&quot;&amp;" in shown.text


@on_sqlite
async def test_an_api_key_is_no_session_and_a_session_no_api_key(rig: Rig) -> None:
    """Neither opens what the other is for."""
    person = await signed_in(rig)
    bearer: dict[str, Any] = dict(rig.api.headers)

    refused(await Person(rig).open(f"{HOME}/", authorization=bearer["authorization"]), 401, "not_signed_in")
    assert (await person.open(f"{HOME}/v1/connections")).status_code == 401
