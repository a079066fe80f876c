"""Wrong input: always a 4xx problem with a stable code, and nothing of what was sent in the answer or the log."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, unquote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integrations.endpoints import BUILT_IN
from tests.conftest import Leaks
from tests.integration.conftest import Store, on_sqlite
from tests.integration.test_api import refused
from tests.keys import ec_key, pem
from tests.rig import PROVIDER, TENANT, Rig
from vault.http.server import application

CONNECTION = f"/v1/connections/{TENANT}/{PROVIDER}/c"
# Every route that takes a body, and a body that it would take.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", CONNECTION): {
        "kind": "oauth2",
        "credentials": {
            "access_token": "canary-at",
            "refresh_token": "canary-rt",
            "expires_at": "2030-01-01T00:00:00Z",
        },
        "metadata": {"a": "b"},
        "settings": {"c": "d"},
        "verify": False,
        "enabled": True,
        "prefer": "own",
        "shared": True,
    },
    ("PATCH", CONNECTION): {
        "credentials": {"access_token": "canary-at", "expires_at": "2030-01-01T00:00:00Z"},
        "metadata": {"a": None},
        "settings": {},
        "verify": False,
        "enabled": False,
        "prefer": "inherited",
        "shared": False,
    },
    ("POST", f"{CONNECTION}/authorize"): {
        "kind": "oauth2",
        "scopes": ["read"],
        "return_url": "https://canary.example/",
        "replace_account": True,
    },
    ("POST", f"{CONNECTION}/rejections"): {
        "generation": 1,
        "source": {"tenant": TENANT, "provider": PROVIDER, "name": "c"},
    },
    ("PUT", "/v1/tenants/globex"): {
        "name": "Globex",
        "parent": "platform",
        "return_urls": ["https://canary.example/"],
    },
    ("PATCH", f"/v1/tenants/{TENANT}"): {
        "name": "Acme",
        "parent": "platform",
        "inherit": False,
        "return_urls": ["https://canary.example/"],
    },
    ("PUT", f"/v1/clients/{TENANT}/{PROVIDER}"): {
        "client_id": "client-1",
        "client_secret": "canary-cs",
        "private_key": pem(ec_key()),
        "settings": {"token_endpoint_auth_method": "private_key_jwt", "key_id": "k-1", "algorithm": "ES256"},
    },
    ("PUT", "/v1/providers/other"): {
        "authorization_endpoint": "https://canary.example/a",
        "token_endpoint": "https://canary.example/t",
        "name": "Other",
        "scopes": ["read"],
        "authorization_parameters": {"a": "b"},
        "default_lifetime": 60,
    },
    ("POST", "/v1/callers"): {
        "name": "x",
        "scopes": ["tokens:read"],
        "tenant": TENANT,
        "providers": ["a"],
        "names": ["b"],
        "expires_at": "2030-01-01T00:00:00Z",
    },
}
ROUTES = sorted(BODIES)
JSON = {"Content-Type": "application/json"}
CODES = {400: {"invalid_request"}, 413: {"body_too_large"}, 415: {"unsupported_media_type"}}


def wronged(answer: httpx.Response, leaks: Leaks) -> None:
    """Check that *answer* puts the blame where it belongs, in fixed words."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    problem = refused(answer, answer.status_code)
    leaks.check(answer.text)
    leaks.check(str(answer.headers))
    assert problem["code"] in CODES.get(answer.status_code, {problem["code"]})


class Bare:
    """Asks the application as a server would, byte by byte: an HTTP client tidies addresses, and logs them."""

    def __init__(self, rig: Rig) -> None:
        self._app = application(rig.vault)
        self._authorization = rig.api.headers["Authorization"].encode()

    async def ask(
        self, path: str, query: dict[str, str] | bytes = b"", *, method: str = "GET", key: bytes | None = None
    ) -> httpx.Response:
        encoded = query if isinstance(query, bytes) else urlencode(query, errors="replace").encode()
        headers = [
            (b"host", b"vault"),
            (b"authorization", self._authorization if key is None else b"Bearer " + key),
        ]
        scope: Any = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": encoded,
            "headers": headers,
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 1),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


@pytest.fixture(name="bare")
async def _bare(rig: Rig) -> Bare:
    return Bare(rig)


async def send(rig: Rig, route: tuple[str, str], content: bytes, **headers: str) -> httpx.Response:
    return await rig.api.request(*route, content=content, headers={**JSON, **headers})


MALFORMED: list[bytes] = [
    b"",
    b"canary-",
    b"null",
    b"true",
    b"17",
    b'"canary-"',
    b"[]",
    b'[{"name": "canary-"}]',
    b"{",
    b'{"name": "canary-',
    b'{"name": "canary-"',
    b'{"name": "canary-"}}',
    b'{"name": "canary-"} {"name": "canary-"}',
    b"{'name': 'canary-'}",
    b'{name: "canary-"}',
    b'{"name": "canary-",}',
    b'{"name": canary-}',
    b'// canary-\n{"name": "x"}',
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b'{"name": 1e999}',
    b'{"name": ' + b"9" * 5000 + b"}",
    b'{"name": "\\ud800canary-"}',
    b'{"name": "\\udfffcanary-"}',
    b'{"name": "canary-\xff"}',
    b'{"name": "\xed\xa0\x80canary-"}',
    b'{"\xffcanary-": 1}',
    b'{"name": "canary-\x00"}',
    b'{"name": "canary-\n"}',
    b'\xef\xbb\xbf{"name": "canary-"}',
    '{"name": "canary-"}'.encode("utf-16"),
    b"\x00" * 100,
    b"\x1f\x8b\x08\x00canary-",
    b"[" * 60_000,
    b'{"name": ' * 6_000,
    b'{"metadata": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
    b'{"metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    b'{"metadata": ' + b'{"a": ' * 40 + b"1" + b"}" * 41,
]


@on_sqlite
async def test_a_body_that_is_no_json_object_is_the_senders_mistake(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Half a body, another type, other encodings, absurd depth: 400 on every route that takes a body."""
    for route in ROUTES:
        for content in MALFORMED:
            answer = await send(rig, route, content)
            wronged(answer, leaks)
            assert answer.status_code == 400, (route, content[:60])


MOMENTS = [
    "2030-01-01T00:00:00",
    "2030-01-01",
    "2030-01-01 00:00",
    "2030-13-01T00:00:00Z",
    "2030-01-01T25:00:00Z",
    "2030-01-01T00:00:00+99:99",
    "10000-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    # ISO 8601 and not RFC 3339.
    "20300101T000000Z",
    "2030-W01-1T00:00:00Z",
    "2030-W01-1",
    "2030-01-01T00:00Z",
    "2030-01-01T00:00:00,5Z",
    "2030-01-01T00:00:00+01",
    "2030-01-01T00:00:00+01:00:30",
    "2030-01-01_00:00:00Z",
    "tomorrow canary-",
    "",
    1e300,
]


def replacements(value: Any) -> list[Any]:
    """Return what *value* could wrongly be, each with the canary where there is a place for it."""
    wrong: list[Any] = [
        7.5,
        10**30,
        -1,
        [],
        ["canary-"],
        [["canary-"]],
        [None],
        {},
        {"canary-": "canary-"},
        [{"canary-": 1}],
        "",
        "canary-\x00",
        "canary-\x1b[31m",
        "canary-\n",
        "\ncanary-",
        "canary-\x7f",
        "canary-" + "x" * 20_000,
        True,
    ]
    if isinstance(value, bool):
        return [each for each in wrong if each is not True]
    if isinstance(value, int):
        return [each for each in wrong if each is not True]
    if isinstance(value, list):
        return [each for each in wrong if not (each == [] or each == ["canary-"])]
    if isinstance(value, dict):
        return [each for each in wrong if not isinstance(each, dict)]
    return wrong


def spoilt(body: Any) -> list[Any]:
    """Return copies of *body*, each wrong in one place."""
    if not isinstance(body, dict):
        return []
    found: list[Any] = [{**body, "canary-": "canary-"}, {**body, "canaryfield": {"canary-": ["canary-"]}}]
    for name, value in body.items():
        if name in {"metadata", "settings"}:
            found += [{**body, name: wrong} for wrong in replacements(value)]
            continue
        # A number is taken for Unix time there.
        wrong_ones = replacements(value) if name != "expires_at" else MOMENTS
        found += [{**body, name: wrong} for wrong in wrong_ones]
        if name != "authorization_parameters":
            found += [{**body, name: inner} for inner in spoilt(value)]
    return found


@on_sqlite
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
async def test_a_field_that_is_wrong_is_named_and_not_repeated(
    rig: Rig, store: Store, leaks: Leaks, route: tuple[str, str]
) -> None:
    """Wrong types, control characters, unknown fields, empty and endless values, one at a time."""
    for body in spoilt(BODIES[route]):
        entered = (body.get("credentials") if isinstance(body.get("credentials"), dict) else None) or {}
        if any(value == "" or len(str(value)) > 20_000 for value in entered.values()):
            continue  # what is empty there is not given, and key files are long
        wronged(await send(rig, route, json.dumps(body).encode()), leaks)

    good = await send(rig, route, json.dumps(BODIES[route]).encode())
    assert good.status_code < 500


@on_sqlite
async def test_what_is_unknown_is_not_repeated_however_harmless_it_looks(rig: Rig, store: Store) -> None:
    """A field's name may be the secret, in lower case letters too."""
    for name in (
        "hunter",
        "hunter two",
        "hun`ter",
        "hun'ter",
        'hun"ter',
        "hun\\ter",
        "hun\nter",
        "HUNTER",
        "hun_ter",
    ):
        answer = await send(rig, ("PUT", "/v1/tenants/globex"), json.dumps({"name": "x", name: "y"}).encode())
        problem = refused(answer, 400, "invalid_request")
        assert "hun" not in answer.text.lower()
        assert problem["errors"]


@on_sqlite
async def test_a_moment_has_a_zone_and_a_place_in_the_calendar(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Naive, impossible and endless moments are refused, and none of them is stored."""
    for moment in MOMENTS:
        credentials = {"access_token": "canary-at", "expires_at": moment}
        body = json.dumps({"credentials": credentials, "verify": False}).encode()
        wronged(await send(rig, ("PUT", CONNECTION), body), leaks)
        caller = json.dumps({"name": "x", "scopes": ["admin"], "expires_at": moment}).encode()
        wronged(await send(rig, ("POST", "/v1/callers"), caller), leaks)

    assert (await rig.api.get("/v1/connections")).json()["items"] == []
    assert len((await rig.api.get("/v1/callers")).json()["items"]) == 1


@on_sqlite
async def test_a_moment_is_what_rfc_3339_allows(rig: Rig, store: Store) -> None:
    """Small letters, a blank, any offset and any fraction name the same moment; an offset has its colon."""

    async def answer(written: str) -> httpx.Response:
        credentials = {"access_token": "canary-at", "expires_at": written}
        return await rig.api.put(CONNECTION, json={"credentials": credentials, "verify": False})

    for written in ("T12:00:00Z", "t12:00:00z", " 12:00:00Z", "T13:30:00.123456789+01:30"):
        # What is kept is the rest of its life in whole seconds.
        shown = (await answer(f"2030-01-01{written}")).json()["expires_at"]
        assert shown in {"2030-01-01T12:00:00Z", "2030-01-01T11:59:59Z"}, written
    assert refused(await answer("2030-01-01T12:00:00+0000"), 422, "invalid_moment")["field"] == "expires_at"


@on_sqlite
async def test_a_token_that_fits_into_no_header_is_refused(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Tokens are printable ASCII (RFC 6749 appendix A): another one could be neither tried nor used."""
    for token in ("canary-…", "canary-\nX-Injected: y", "canary-\x7f", "canary-\u00e9"):
        for name in ("access_token", "refresh_token"):
            body = json.dumps({"credentials": {"access_token": "canary-at", name: token}})
            answer = await send(rig, ("PUT", CONNECTION), body.encode())
            wronged(answer, leaks)
            assert refused(answer, 422, "invalid_field")["field"] == name


@on_sqlite
async def test_a_body_is_no_longer_than_64_kib(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Whether its length is announced or not; one that just fits is read."""

    async def dribbled(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b"canary- ".ljust(1024)

    for method, path in ROUTES:
        long = json.dumps({"name": "canary-" + "x" * 65_536}).encode()
        wronged(await send(rig, (method, path), long), leaks)
        assert (await send(rig, (method, path), long)).status_code == 413
        answer = await rig.api.request(method, path, content=dribbled(10_000_000), headers=JSON)
        refused(answer, 413, "body_too_large")
    fits = json.dumps({"name": "x"}).encode().ljust(65_536)
    assert (await send(rig, ("PUT", "/v1/tenants/globex"), fits)).status_code == 201
    refused(await send(rig, ("PUT", "/v1/tenants/globex"), fits + b" "), 413)


KINDS = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=canary-",
    "application/xml",
    "application/msgpack",
    "application/json-patch+json",
    "application/jsonx",
    "canary-",
    "",
    ";",
]


@on_sqlite
async def test_a_body_of_another_type_is_not_guessed_at(rig: Rig, store: Store, leaks: Leaks) -> None:
    """415, though the bytes would be JSON."""
    for kind in KINDS:
        for route in ROUTES:
            answer = await send(rig, route, json.dumps(BODIES[route]).encode(), **{"Content-Type": kind})
            wronged(answer, leaks)
            refused(answer, 415, "unsupported_media_type")


@on_sqlite
async def test_json_is_json_with_parameters_and_without_a_type(rig: Rig, store: Store) -> None:
    """Case and parameters of the type do not matter; a body without a type is taken for what it has to be."""
    content = b'{"name": "x"}'
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/json;charset=UTF-8"):
        assert (await send(rig, ("PUT", "/v1/tenants/globex"), content, **{"Content-Type": kind})).is_success
    assert (await rig.api.put("/v1/tenants/globex", content=content)).is_success


def cursor(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


QUERIES = [
    (path, {name: value})
    for path, name, values in [
        (
            f"{CONNECTION}/token",
            "min_ttl",
            ["-1", "canary-", "", "1.5", "1e3", "31536001", "9" * 5000, "NaN", "\x00", "0x10", " ", "٣canary-"],
        ),
        (f"{CONNECTION}/token", "wait", ["26", "-1", "canary-", "", "inf"]),
        ("/v1/connections", "limit", ["0", "201", "-1", "canary-", "", "1.5", "9" * 5000]),
        ("/v1/callers", "limit", ["0", "201", "canary-"]),
        ("/v1/connections", "status", ["canary-", "", "null", "NULL", "VERIFIED", "verified "]),
        ("/v1/connections", "expiring_within", ["null", "-1", "canary-", "9" * 40]),
        (
            "/v1/connections",
            "tenant",
            ["", " ", "canary-/x", "a\x00b", "-a", ".", "..", "a" * 129, "é", "a\ud7ff", "a\n"],
        ),
        ("/v1/connections", "provider", ["", "Canary-", "a\x00", "a" * 65, "a.b", "a\n"]),
        *[
            (
                path,
                "cursor",
                [
                    "",
                    "a",
                    "é",
                    "canary-",
                    "=" * 8,
                    cursor(b"canary-"),
                    cursor(b"[]"),
                    cursor(b"{}"),
                    cursor(b"null"),
                    cursor(b'"abc"'),
                    cursor(b"[1, 2, 3]"),
                    cursor(b"[1]"),
                    cursor(b'["a", "b"]'),
                    cursor(b'["a", "b", "c", "d"]'),
                    cursor(b'["\\u0000", "b", "c"]'),
                    cursor(b'["\\ud800", "b", "c"]'),
                    cursor(b'["\\u0000"]'),
                    cursor(b'["\\ud800"]'),
                    cursor(b"\xff\xfe"),
                    cursor(b"[" * 20_000),
                    cursor(b"9" * 5000),
                ],
            )
            for path in ("/v1/connections", "/v1/callers")
        ],
    ]
    for value in values
]


@on_sqlite
async def test_a_parameter_that_is_wrong_is_refused(rig: Rig, bare: Bare, store: Store, leaks: Leaks) -> None:
    """Numbers out of range, words that are none, cursors that are not ours, names that could not be."""
    for path, query in QUERIES:
        answer = await bare.ask(path, query)
        assert answer.is_client_error, (path, query, answer.text)
        wronged(answer, leaks)
    wronged(await bare.ask(CONNECTION, {"revoke": "canary-"}, method="DELETE"), leaks)


@on_sqlite
async def test_a_parameter_that_comes_twice_is_refused(rig: Rig, bare: Bare, store: Store, leaks: Leaks) -> None:
    """Readers differ in which of the two they believe; the same value twice is no better."""
    await rig.a_connection("c")
    for path, query in [
        ("/v1/connections", "limit=1&limit=2"),
        ("/v1/connections", "limit=1&limit=1"),
        ("/v1/connections", "tenant=acme&tenant=canary-"),
        ("/v1/connections", "canary-=1&canary-=2"),
        (f"{CONNECTION}/token", "wait=0&min_ttl=1&wait=25"),
    ]:
        wronged(await bare.ask(path, query.encode()), leaks)
    wronged(await bare.ask(CONNECTION, b"revoke=false&revoke=true", method="DELETE"), leaks)
    assert (await rig.api.get(CONNECTION)).status_code == 200


@on_sqlite
async def test_a_parameter_that_an_operation_has_not_is_refused(
    rig: Rig, bare: Bare, store: Store, leaks: Leaks
) -> None:
    """What was meant by it would not be done: nothing is, and it is not repeated."""
    await rig.a_connection("c")
    for method, path, query in [
        ("DELETE", CONNECTION, b"revoked=true"),
        ("DELETE", CONNECTION, b"tenant=acme"),  # that is in the path
        ("DELETE", f"/v1/clients/{TENANT}/{PROVIDER}", b"client_id=client-1"),
        ("GET", "/v1/connections", b"canary-=failed"),
        ("GET", "/v1/connections", b"metadata=a"),
        ("GET", f"{CONNECTION}/token", b"canary-=1"),
        ("GET", "/v1/providers/acme-id", b"limit=1"),
    ]:
        wronged(await bare.ask(path, query, method=method), leaks)

    assert (await rig.api.get(CONNECTION)).status_code == 200
    assert (await rig.api.get(f"/v1/clients/{TENANT}/{PROVIDER}")).status_code == 200
    assert (await rig.api.get("/v1/connections?metadata.plan=gold")).status_code == 200
    assert (await rig.api.get("/healthz?anything=1")).status_code == 200


NAMES = [
    "%00",
    "a%00b",
    "%20",
    "a%0ab",
    "a%0a",
    "%ff",
    "%ed%a0%80",
    "-a",
    ".",
    "%2e",
    "a" * 129,
    "%c3%a9",
    "a%2fb",
    "a%3fb",
    "a;b",
    "a:b",
    "a%25b",
    "%F0%9F%94%91",
    "canary-%00",
]


@on_sqlite
async def test_a_name_that_could_not_be_one_is_refused_in_any_part_of_a_path(
    rig: Rig, bare: Bare, store: Store, leaks: Leaks
) -> None:
    """Whatever the method: tenants, providers, names and ids are made of a few plain characters."""
    for name in NAMES:
        for path in (
            f"/v1/connections/{name}/{PROVIDER}/c",
            f"/v1/connections/{TENANT}/{name}/c",
            f"/v1/connections/{TENANT}/{PROVIDER}/{name}",
            f"/v1/connections/{TENANT}/{PROVIDER}/{name}/token",
            f"/v1/tenants/{name}",
            f"/v1/clients/{TENANT}/{name}",
            f"/v1/providers/{name}",
            f"/v1/callers/{name}",
        ):
            answer = await bare.ask(path)
            assert answer.status_code in {404, 422}, (path, answer.text)
            wronged(answer, leaks)
        wronged(await bare.ask(f"/v1/connections/{TENANT}/{PROVIDER}/{name}", method="DELETE"), leaks)
        wronged(await bare.ask(f"/v1/tenants/{name}", method="DELETE"), leaks)
    known = [one["id"] for one in (await rig.api.get("/v1/providers")).json()["items"]]
    assert known == sorted([PROVIDER, *BUILT_IN])


@on_sqlite
async def test_a_method_that_is_not_offered_is_refused(rig: Rig, store: Store, leaks: Leaks) -> None:
    """405 for what an address does not take, standard or made up."""
    for path in (
        CONNECTION,
        f"{CONNECTION}/token",
        "/v1/connections",
        "/v1/tenants/acme",
        "/v1/callers",
        "/healthz",
    ):
        for method in ("PROPFIND", "TRACE", "CONNECT", "BREW"):
            answer = await rig.api.request(method, path)
            wronged(answer, leaks)
            refused(answer, 405, "method_not_allowed")


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["canary-", "canary-\x00", "2030-01-01T00:00:00Z", "https://canary.example/", "admin", "platform"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10) | st.just("canary-"), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[tuple[str, str], bytes]:
    """Draw a route and a body that is nearly one of its own."""
    route = draw(st.sampled_from(ROUTES))
    fields = st.sampled_from([*BODIES[route], "canary-"]) | st.text(max_size=8)
    changes = draw(st.dictionaries(fields, values, max_size=4))
    whole = {**BODIES[route], **changes} if draw(st.booleans()) else changes
    content = json.dumps(whole).encode()
    if draw(st.booleans()):
        return route, content
    position = draw(st.integers(0, len(content)))
    return route, content[:position] + draw(st.binary(max_size=4)) + content[position:]


@on_sqlite
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=bodies())
@example(sent=(("PUT", "/v1/tenants/globex"), b'{"name": "canary-"}'))
async def test_no_body_breaks_a_route(
    rig: Rig,
    store: Store,
    leaks: Leaks,
    sent: tuple[tuple[str, str], bytes],
) -> None:
    """Whatever is sent, it is carried out or refused as the sender's mistake, and no refusal repeats it."""
    answer = await send(rig, *sent)

    assert answer.status_code < 500, (sent, answer.text)
    if answer.is_error:
        wronged(answer, leaks)


@on_sqlite
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(max_size=20), query=st.binary(max_size=60), key=st.binary(max_size=60))
async def test_no_address_and_no_key_breaks_the_api(
    bare: Bare, store: Store, path: str, query: bytes, key: bytes
) -> None:
    """Any bytes as a path, a query or a key."""
    assert (await bare.ask(f"/v1/{quote(path, errors='replace')}")).is_client_error
    assert (await bare.ask("/v1/connections", query)).status_code < 500
    refused(await bare.ask("/v1/connections", key=key), 401, "unauthenticated")
