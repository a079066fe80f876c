"""Two live secrets of one client: which is kept, which is tried, and that nobody notices a rotation."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, Select, event, select
from sqlalchemy.exc import OperationalError

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_postgres, on_sqlite
from tests.integration.judge import age, audited, count_by_status, eventually, row_of
from tests.integration.test_api import refused
from tests.keys import ec_key, pem, public_jwk, public_pem, rsa_key
from tests.person import Asking, Person
from tests.rig import PROVIDER, TENANT, Rig
from vault.audit import Event
from vault.callers import OPERATOR
from vault.clock import uptime
from vault.store.schema import clients

CLIENT = f"/v1/clients/{TENANT}/{PROVIDER}"
PREVIOUS = f"{CLIENT}/secrets/previous"
OLD, NEW, NEWEST = "canary-client-secret-1", "canary-client-secret-2", "canary-client-secret-3"
HOUR = timedelta(hours=1)
SIGNS = {"token_endpoint_auth_method": "private_key_jwt"}


async def put(rig: Rig, secret: str | None = None, client_id: str = "client-1", **more: Any) -> dict[str, Any]:
    """Register a client, and return it as it is shown."""
    body = {"client_id": client_id, **({"client_secret": secret} if secret else {}), **more}
    answer = await rig.api.put(CLIENT, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def shown(rig: Rig) -> dict[str, Any]:
    return dict((await rig.api.get(CLIENT)).json())


async def takes(rig: Rig, *secrets: str) -> None:
    """Have the provider take these secrets and no others."""
    await rig.provider.configure(clients={"client-1": list(secrets)})


async def outcomes(rig: Rig, endpoint: str = "token") -> list[str]:
    """Return how the provider took the requests to an endpoint, in order."""
    return [event["outcome"] for event in (await rig.provider.ledger()).requests(endpoint)]


async def client_row(rig: Rig) -> Any:
    async with rig.vault.database.read() as tx:
        return (await tx.execute(select(clients).where(clients.c.tenant_id == TENANT, clients.c.current))).one()


# ---- what is kept


@on_sqlite
async def test_another_secret_keeps_the_former_one_live(rig: Rig, leaks: Leaks) -> None:
    """Both are shown as there, with when they were entered; the next but one takes the former's place."""
    first = await put(rig, OLD)
    second = await put(rig, NEW)
    third = await put(rig, NEWEST)

    assert "previous" not in first["secrets"]
    assert first["secrets"]["in_use"] == second["secrets"]["in_use"] == "current"
    for earlier, later in [(first, second), (second, third)]:
        assert later["secrets"]["previous"] == earlier["secrets"]["current"]
        assert later["secrets"]["previous"].keys() == {"client_secret", "since"}
    assert await shown(rig) == third
    leaks.check(str(third))
    await takes(rig, OLD)
    await rig.a_connection("c", expires_in=0)
    refused(await rig.token("c"), 503, "client_misconfigured")


async def test_the_same_secret_again_changes_nothing(rig: Rig) -> None:
    """Neither what is live nor since when; a registration that was rejected is tried again."""
    await put(rig, OLD)
    before = await put(rig, NEW)
    row = await client_row(rig)
    event = Event("scheduler", "client.rejected", tenant=TENANT, provider=PROVIDER)
    await rig.vault.gates.reject_client(row.id, row.generation, event)
    assert (await shown(rig))["state"] == "rejected"

    again = await put(rig, NEW)

    assert again == before
    assert (await client_row(rig)).generation == row.generation


@on_sqlite
async def test_a_rotation_ends_when_somebody_says_so(rig: Rig) -> None:
    """The former secret is forgotten and not tried any more; without one, there is nothing to forget."""
    await put(rig, NEW)
    await rig.a_connection("c", expires_in=0)
    assert (await rig.token("c")).status_code == 200
    assert (await shown(rig))["secrets"]["in_use"] == "previous"

    dropped = await rig.api.delete(PREVIOUS)
    await age(rig, HOUR)

    assert dropped.status_code == 204
    secrets = (await shown(rig))["secrets"]
    assert ("previous" in secrets, secrets["in_use"]) == (False, "current")
    refused(await rig.token("c"), 503, "client_misconfigured")
    assert await outcomes(rig) == ["invalid_client", "ok", "invalid_client"]
    refused(await rig.api.delete(PREVIOUS), 404, "not_found")
    assert [row["outcome"] for row in await audited(rig, "client.changed")][-1] == "previous_dropped"


@on_sqlite
async def test_other_settings_leave_the_former_secret_live(rig: Rig) -> None:
    """Another way to authenticate with the same secret is no rotation, and is used from the next refresh on."""
    await put(rig, OLD)
    rotated = await put(rig, NEW)
    await takes(rig, NEW)
    await rig.provider.configure(auth_method="client_secret_post")
    await rig.a_connection("c", expires_in=0)

    posted = await put(rig, NEW, settings={"token_endpoint_auth_method": "client_secret_post"})

    assert posted["secrets"]["previous"] == rotated["secrets"]["previous"]
    assert posted["secrets"]["current"]["settings"] == {"token_endpoint_auth_method": "client_secret_post"}
    assert posted["secrets"]["current"]["since"] == rotated["secrets"]["current"]["since"]
    assert (await rig.token("c")).status_code == 200
    assert await outcomes(rig) == ["ok"]


@on_sqlite
async def test_a_public_client_has_no_secret_to_keep(rig: Rig) -> None:
    """With the method `none` nothing but the client_id is sent; a secret that was there stays as the former."""
    await put(rig, None, settings={"token_endpoint_auth_method": "none"})
    await rig.provider.configure(clients={"client-1": None})
    await rig.a_connection("c", expires_in=0)

    secrets = (await shown(rig))["secrets"]

    assert secrets["current"].keys() == {"settings", "since"}
    assert secrets["previous"]["client_secret"] is True
    assert (await rig.token("c")).status_code == 200
    assert "previous" not in (await put(rig, NEW, client_id="client-2"))["secrets"]


MALFORMED = "-----BEGIN PRIVATE KEY-----\ncanary-key\n-----END PRIVATE KEY-----\n"
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"settings": {"canary-name": "x"}}, 400, "invalid_request"),
    ({"settings": {"algorithm": "canary-none"}}, 400, "invalid_request"),
    ({"settings": {"token_endpoint_auth_method": "tls_client_auth"}}, 400, "invalid_request"),
    ({"private_key": "canary-\x00"}, 400, "invalid_request"),
    ({"settings": SIGNS}, 422, "credentials_missing"),
    ({"settings": SIGNS, "client_secret": "canary-s"}, 422, "credentials_missing"),
    ({"settings": {"token_endpoint_auth_method": "client_secret_post"}}, 422, "credentials_missing"),
    ({"settings": {"key_id": "canary-kid"}}, 422, "credentials_missing"),
    ({"private_key": MALFORMED}, 422, "invalid_private_key"),
    ({"private_key": "canary-key"}, 422, "invalid_private_key"),
    ({"private_key": '{"kty": "oct", "k": "canary-key"}'}, 422, "invalid_private_key"),
    ({"private_key": public_pem(rsa_key())}, 422, "invalid_private_key"),
    ({"private_key": pem(rsa_key(), password=b"canary-passphrase")}, 422, "invalid_private_key"),
    ({"private_key": pem(ec_key()), "settings": {"algorithm": "RS256"}}, 422, "invalid_private_key"),
]


@on_sqlite
async def test_what_could_not_authenticate_is_refused(rig: Rig, leaks: Leaks) -> None:
    """Unknown settings, a method without what it takes, a key that cannot sign: nothing of it is repeated."""
    before = await shown(rig)
    for more, status, code in REFUSED:
        answer = await rig.api.put(CLIENT, json={"client_id": "client-1", **more})
        refused(answer, status, code)
        leaks.check(answer.text)
        assert "KEY-----" not in answer.text
    assert await shown(rig) == before


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@on_sqlite
async def test_a_client_without_a_secret_is_refused_where_its_provider_takes_one(
    replicas: Replicas, method: str
) -> None:
    """The missing field is named and nothing is changed; a client that says it is public, or signs, needs none."""
    rig = await replicas({"token_endpoint_auth_method": method})
    before = await shown(rig)

    more: dict[str, Any]
    for more in ({}, {"private_key": pem(ec_key())}, {"settings": {}}):
        answer = await rig.api.put(CLIENT, json={"client_id": "client-1", **more})
        assert refused(answer, 422, "credentials_missing")["field"] == "client_secret"

    assert await shown(rig) == before
    await put(rig, settings={"token_endpoint_auth_method": "none"})
    await put(rig, private_key=pem(ec_key()), settings=SIGNS)
    await put(rig, NEW)


@on_sqlite
async def test_a_client_without_a_secret_is_taken_where_its_provider_takes_none(replicas: Replicas) -> None:
    """A provider of public clients asks for nothing but the client_id."""
    rig = await replicas({"token_endpoint_auth_method": "none"})

    assert (await put(rig))["client_id"] == "client-1"


# ---- which is tried


@pytest.mark.parametrize("count", [20])
async def test_the_other_secret_is_tried_once_and_then_first(
    rig: Rig, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The refresh succeeds in its one turn, one record and one warning say so, and the rest ask once each."""
    grants = [(await rig.a_connection(f"c{n}", expires_in=0))[1] for n in range(count)]
    await put(rig, NEW)

    first = await rig.token("c0")
    after_first = await outcomes(rig)
    await rig.vault.sweeper.once()

    assert first.status_code == 200
    assert after_first == ["invalid_client", "ok"]
    assert await outcomes(rig) == ["invalid_client", *["ok"] * count]
    ledger = await rig.provider.ledger()
    assert {len(ledger.exchanges(grant.family)) for grant in grants} == {1}
    assert ledger.replays() == []
    assert [(row["outcome"], row["tenant"]) for row in await audited(rig, "client.secret_switched")] == [
        ("previous", TENANT)
    ]
    assert await audited(rig, "client.rejected") == await audited(rig, "token.refresh_failed") == []
    assert (await shown(rig))["secrets"]["in_use"] == "previous"
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [vars(record)["works"] for record in warnings] == ["previous"]


@on_sqlite
async def test_a_secret_that_was_just_entered_is_tried_first(rig: Rig) -> None:
    """That another one worked before says nothing of the new one, nor of which was replaced by it."""
    await rig.a_connection("c", expires_in=0)
    await put(rig, NEW)
    assert (await rig.token("c")).status_code == 200
    await takes(rig, NEWEST)

    newest = await put(rig, NEWEST)
    await age(rig, HOUR)

    assert newest["secrets"]["in_use"] == "current"
    assert (await rig.token("c")).status_code == 200
    assert await outcomes(rig) == ["invalid_client", "ok", "ok"]


async def test_many_that_are_refused_together_say_it_once(rig: Rig) -> None:
    """All that were under way with the refused secret find the other one, and raise one warning together."""
    for n in range(6):
        await rig.a_connection(f"c{n}", expires_in=0)
    await put(rig, NEW)
    await rig.provider.hold(times=6, when="before")

    asked = [asyncio.create_task(rig.token(f"c{n}")) for n in range(6)]
    await rig.provider.wait_for_held(6)
    await rig.provider.release()

    assert {(await each).status_code for each in asked} == {200}
    assert sorted(await outcomes(rig)) == ["invalid_client"] * 6 + ["ok"] * 6
    assert len(await audited(rig, "client.secret_switched")) == 1


@on_sqlite
async def test_both_secrets_refused_is_a_rejected_client(rig: Rig) -> None:
    """Two calls, one alarm, a pause for all its connections, and none of them failed."""
    await rig.a_connection("c", expires_in=0)
    await rig.a_connection("d", expires_in=0)
    await put(rig, NEW)
    await takes(rig, NEWEST)

    answers = [await rig.token("c"), await rig.token("d")]
    await rig.vault.sweeper.once()

    for answer in answers:
        refused(answer, 503, "client_misconfigured")
    assert await outcomes(rig) == ["invalid_client"] * 2
    assert len(await audited(rig, "client.rejected")) == 1
    assert set(await count_by_status(rig)) == {"degraded", "configured"}
    assert ((await shown(rig))["state"], (await row_of(rig, "c")).failures) == ("rejected", 0)


FAULTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "the connection breaks": lambda rig: rig.provider.fault(reset="after"),
    "a gateway gives up": lambda rig: rig.provider.fault(answer_status=504, answer_body="late"),
    "it is busy": lambda rig: rig.provider.fault(status=503),
    "it asks for patience": lambda rig: rig.provider.fault(status=429),
}


@on_sqlite
@pytest.mark.parametrize("what", FAULTS)
async def test_only_a_refused_client_is_tried_again(rig: Rig, what: str) -> None:
    """Where the outcome is unknown the token may be spent; any other failure says nothing of the secret."""
    await rig.a_connection("c", expires_in=0)
    await put(rig, NEW)
    await takes(rig, OLD, NEW)
    await FAULTS[what](rig)

    answer = await rig.token("c", wait=1)

    assert answer.status_code == 503
    assert (await rig.provider.counts())["token_requests"] == 1
    assert await audited(rig, "client.secret_switched") == []


@on_sqlite
async def test_a_second_try_has_no_time_of_its_own(replicas: Replicas) -> None:
    """Both tries together end by the deadline of one call, and what was not heard is not the client's fault."""
    rig = await replicas(provider_timeout=1.5)
    await rig.a_connection("c", expires_in=0)
    await put(rig, NEW)
    await rig.provider.fault(latency=0.8)
    await rig.provider.fault(hang="after")
    began = uptime()

    answer = await rig.token("c", wait=10)
    took = uptime() - began

    assert answer.status_code == 503
    assert took < 2.25  # and not 2.3, as with 1.5 s for each
    assert (await row_of(rig, "c")).reason == "outcome_unknown"
    assert (await shown(rig))["state"] == "active"
    assert len(await outcomes(rig)) == 2


async def test_a_secret_that_comes_meanwhile_is_found(rig: Rig) -> None:
    """A refresh that set out with a secret which died on the way finds the one that was entered since."""
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold(when="before")
    asked = asyncio.create_task(rig.token("c"))
    await rig.provider.wait_for_held()

    await put(rig, NEW)
    await takes(rig, NEW)
    await rig.provider.release()

    assert (await asked).status_code == 200
    assert await outcomes(rig) == ["invalid_client", "ok"]
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1
    assert await audited(rig, "client.rejected") == await audited(rig, "client.secret_switched") == []


@on_sqlite
async def test_a_secret_that_cannot_be_looked_up_is_no_fault_of_the_client(rig: Rig) -> None:
    """The database fails as the other secret is wanted: that passes, nobody is rejected, the next try finds it."""
    await put(rig, OLD)
    await put(rig, NEW)
    await takes(rig, OLD)
    await rig.a_connection("c", expires_in=0)
    failed = 0

    def fail(_connection: Any, statement: Any, *_: Any) -> None:
        nonlocal failed
        if isinstance(statement, Select) and statement.columns_clause_froms == [clients]:
            failed += 1
            raise OperationalError("", {}, Exception("disk I/O error"))

    event.listen(Engine, "before_execute", fail)
    try:
        # Not for as long as the backoff may last: then it would be tried again within this one call.
        refused(await rig.token("c", wait=4), 503, "provider_unavailable")
    finally:
        event.remove(Engine, "before_execute", fail)
    row = await row_of(rig, "c")

    assert failed == 1
    assert (row.status, row.reason, row.last_error_code) == ("degraded", "transient", "storage_unavailable")
    assert (await shown(rig))["state"] == "active"
    await age(rig, HOUR)
    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_what_was_refused_before_says_nothing_of_a_new_secret(rig: Rig) -> None:
    """A rejection that is written late, after another secret was entered, pauses nothing."""
    before = await client_row(rig)
    await put(rig, NEW)

    event = Event("scheduler", "client.rejected", tenant=TENANT, provider=PROVIDER)
    await rig.vault.gates.reject_client(before.id, before.generation, event)

    assert (await shown(rig))["state"] == "active"
    assert await audited(rig, "client.rejected") == []


@on_sqlite
async def test_a_lost_secret_gives_way_to_the_one_that_opens(rig: Rig) -> None:
    """Where the current secret does not open, nothing is sent with it, and the former one serves."""
    await rig.a_connection("c", expires_in=0)
    await put(rig, NEW)
    async with rig.vault.database.transaction() as tx:
        damage = "UPDATE sealed_values SET iv = salt WHERE owner_kind = 'client' AND field = 'client_secret'"
        await tx.exec_driver_sql(damage)

    assert (await rig.token("c")).status_code == 200
    assert await outcomes(rig) == ["ok"]


# ---- with private keys


@on_sqlite
async def test_a_private_key_signs_and_is_rotated_like_a_secret(rig: Rig) -> None:
    """The new key is tried first, the former one with its own key id; neither secret nor key is ever sent."""
    keys = [rsa_key(1), rsa_key(2)]
    public = [public_jwk(key, kid=f"k{n}") for n, key in enumerate(keys)]
    await rig.provider.configure(auth_method="private_key_jwt", client_keys={"client-1": [public[0]]})
    await rig.a_connection("c", expires_in=0)
    await rig.a_connection("d", expires_in=0)

    await put(rig, private_key=pem(keys[0]), settings={**SIGNS, "key_id": "k0"})
    assert (await rig.token("c")).status_code == 200
    both = await put(rig, private_key=pem(keys[1]), settings={**SIGNS, "key_id": "k1", "algorithm": "PS256"})
    assert (await rig.token("d")).status_code == 200

    assert await outcomes(rig) == ["ok", "invalid_client", "ok"]
    assert both["secrets"]["current"]["settings"] == {**SIGNS, "key_id": "k1", "algorithm": "PS256"}
    assert both["secrets"]["previous"]["settings"] == {**SIGNS, "key_id": "k0"}
    assert both["secrets"]["current"]["private_key"] is both["secrets"]["previous"]["private_key"] is True
    await rig.provider.configure(client_keys={"client-1": [public[1]]})
    await age(rig, HOUR)
    assert (await rig.token("c")).status_code == 200
    assert [row["outcome"] for row in await audited(rig, "client.secret_switched")] == ["previous", "current"]


@on_sqlite
async def test_a_client_goes_over_from_a_secret_to_a_key(rig: Rig) -> None:
    """Another way to authenticate is a rotation too: each secret is used in its own way."""
    await rig.a_connection("c", expires_in=0)
    await put(rig, private_key=pem(ec_key()), settings=SIGNS)
    assert (await rig.token("c")).status_code == 200

    await rig.provider.configure(client_keys={"client-1": [public_jwk(ec_key())]}, auth_method="private_key_jwt")
    await age(rig, HOUR)

    assert (await rig.token("c")).status_code == 200
    ways = [(event["auth"], event["outcome"]) for event in (await rig.provider.ledger()).requests("token")]
    assert ways == [
        ("private_key_jwt", "invalid_client"),
        ("client_secret_basic", "ok"),
        ("client_secret_basic", "invalid_client"),
        ("private_key_jwt", "ok"),
    ]


# ---- whatever is sent


@on_sqlite
async def test_a_code_is_exchanged_with_whichever_secret_works(rig: Rig) -> None:
    """A person who comes back in the middle of a rotation is connected, and the code was redeemed once."""
    await put(rig, NEW)

    page = await Person(rig).connect(await Asking(rig).link())

    assert page.status_code == 200, page.text
    assert await outcomes(rig) == ["invalid_client", "ok"]
    assert len(await audited(rig, "client.secret_switched")) == 1
    assert (await Asking(rig).token()).status_code == 200


@on_sqlite
async def test_entered_credentials_are_tried_with_whichever_secret_works(replicas: Replicas) -> None:
    """The client's own access in the middle of a rotation: verified, and not called misconfigured."""
    rig = await replicas({"grant_types": ["client_credentials"]})
    await put(rig, NEW)
    path = f"/v1/connections/{TENANT}/{PROVIDER}/own"

    made = await rig.api.put(path, json={"kind": "client_credentials", "credentials": {}})

    assert (made.status_code, made.json()["status"]) == (201, "verified"), made.text
    assert await outcomes(rig) == ["invalid_client", "ok"]
    await takes(rig, NEWEST)
    refused(
        await rig.api.put(f"{path}-2", json={"kind": "client_credentials", "credentials": {}}),
        409,
        "client_misconfigured",
    )


@on_sqlite
async def test_a_grant_is_revoked_with_whichever_secret_works(rig: Rig) -> None:
    """Disconnecting in the middle of a rotation ends the grant at the provider, and says so; never else."""
    _, grant = await rig.a_connection("c")
    _, other = await rig.a_connection("d")
    await put(rig, NEW)
    path = f"/v1/connections/{TENANT}/{PROVIDER}"

    answer = await rig.api.delete(f"{path}/c", params={"revoke": True})
    await takes(rig, NEWEST)
    in_vain = await rig.api.delete(f"{path}/d", params={"revoke": True})

    assert answer.json()["revoked"] == "revoked"
    assert in_vain.json()["revoked"] == "failed"
    assert await outcomes(rig, "revoke") == ["invalid_client", "ok", "invalid_client", "invalid_client"]
    assert (await rig.provider.ledger()).revoked_families == {grant.family} != {other.family}


# ---- nobody notices

ADD_PUT_DELETE = ("take both", "put", "take the new one")
PUT_FIRST = ("put", "take both", "take the new one")
PUT_THEN_REPLACE = ("put", "take the new one")
DROP_FIRST = ("take the new one", "put")
STEPS: dict[str, Callable[[Rig], Awaitable[Any]]] = {
    "put": lambda rig: put(rig, NEW),
    "take both": lambda rig: takes(rig, OLD, NEW),
    "take the new one": lambda rig: takes(rig, NEW),
}


class Traffic:
    """Readers at every replica, and sweeps, that go on and on over the same connections, which are always due."""

    def __init__(self, together: list[Rig], names: list[str]) -> None:
        self._together, self._names = together, names
        self.answers: dict[tuple[int, str], list[httpx.Response]] = {
            (number, name): [] for number in range(len(together)) for name in names
        }
        self._over = False

    async def during(self, steps: Callable[[], Awaitable[None]]) -> None:
        tasks = [asyncio.create_task(self._sweep(rig)) for rig in self._together]
        tasks += [asyncio.create_task(self._read(*who)) for who in self.answers]
        try:
            await steps()
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def all_goes_on(self) -> None:
        """Return when everybody has got tokens, and all connections were refreshed, since this was called."""
        answered = {who: len(answers) for who, answers in self.answers.items()}
        exchanged = await self._exchanged()

        async def has_gone_on() -> bool:
            answers = all(len(self.answers[who]) >= before + 2 for who, before in answered.items())
            return answers and await self._exchanged() >= exchanged + 2 * len(self._names)

        await eventually(has_gone_on)

    async def _exchanged(self) -> int:
        return len((await self._together[0].provider.ledger()).exchanges())

    async def _read(self, number: int, name: str) -> None:
        while not self._over:
            self.answers[number, name].append(await self._together[number].token(name, wait=10))
            await asyncio.sleep(0.01)

    async def _sweep(self, rig: Rig) -> None:
        while not self._over:
            await age(rig, HOUR, "next_refresh_at")
            await rig.vault.sweeper.once()
            await asyncio.sleep(0.02)


@on_postgres
@pytest.mark.parametrize("order", [ADD_PUT_DELETE, PUT_FIRST, PUT_THEN_REPLACE, DROP_FIRST])
async def test_nobody_notices_that_a_secret_is_replaced(replicas: Replicas, order: tuple[str, ...]) -> None:
    """In whatever order it is done at the provider and here, every caller gets a token and no refresh counts."""
    rig = await replicas()
    together = [rig] if "sqlite" in rig.vault.settings.database_url else [rig, await replicas()]
    names = [f"c{n}" for n in range(4)]
    for name in names:
        await rig.a_connection(name)
    traffic = Traffic(together, names)

    async def rotate() -> None:
        await traffic.all_goes_on()
        for step in order:
            await STEPS[step](rig)
            if (step, order) == ("take the new one", DROP_FIRST):
                # Nothing can be refreshed until the new one is here, and the tokens are good for an hour yet.
                await eventually(lambda: _is_rejected(rig))
            else:
                # Whoever asks now waits for a refresh.
                await age(rig, HOUR, "access_expires_at", "next_refresh_at")
                await traffic.all_goes_on()

    await traffic.during(rotate)

    answers = [answer for each in traffic.answers.values() for answer in each]
    assert {(answer.status_code, answer.json().get("code")) for answer in answers} == {(200, None)}
    assert [(await row_of(rig, name)).failures for name in names] == [0] * len(names)
    failed = await audited(rig, "token.refresh_failed")
    assert {row["outcome"] for row in failed} == ({"invalid_client"} if order == DROP_FIRST else set())
    assert len(await audited(rig, "client.rejected")) == (order == DROP_FIRST)
    # Told once in each direction, however many were under way.
    switched = sorted(row["outcome"] for row in await audited(rig, "client.secret_switched"))
    assert switched == (["current", "previous"] if order in (PUT_FIRST, PUT_THEN_REPLACE) else [])
    assert (await rig.provider.ledger()).replays() == []
    assert (await rig.api.delete(PREVIOUS)).status_code == 204
    await age(rig, HOUR)
    assert {(await rig.token(name)).status_code for name in names} == {200}


async def _is_rejected(rig: Rig) -> bool:
    return bool((await shown(rig))["state"] == "rejected")


# ---- another client_id


async def test_another_client_id_leaves_old_grants_with_theirs(rig: Rig) -> None:
    """Old grants refresh and are revoked as who they were given to, new ones as the new one, to their end."""
    await rig.provider.configure(clients={"client-1": OLD, "client-2": "canary-of-client-2"})
    old, older, new = (Asking(rig, name) for name in ("old", "older", "new"))
    for asking in (old, older):
        assert (await Person(rig).connect(await asking.link())).status_code == 200

    await put(rig, "canary-of-client-2", client_id="client-2")
    assert (await Person(rig).connect(await new.link())).status_code == 200
    await age(rig, HOUR)
    assert [(await asking.token()).status_code for asking in (old, new)] == [200, 200]
    assert (await rig.api.delete(CLIENT)).status_code == 204
    await age(rig, HOUR)
    await rig.vault.tidy()
    assert [(await asking.token()).status_code for asking in (old, new)] == [200, 200]
    ends = [await rig.api.delete(asking.path, params={"revoke": True}) for asking in (older, new)]

    refused(await rig.api.get(CLIENT), 404, "not_found")
    refused(await Asking(rig, "another").authorize(), 409, "no_client")
    assert [end.json()["revoked"] for end in ends] == ["revoked", "revoked"]
    ledger = await rig.provider.ledger()
    by_grant = [
        {event["client_id"] for event in ledger.of("request", family, endpoint="token", outcome="ok")}
        for family in ledger.families
    ]
    assert by_grant == [{"client-1"}, {"client-1"}, {"client-2"}]
    assert [(event["client_id"], event["outcome"]) for event in ledger.requests("revoke")] == [
        ("client-1", "ok"),
        ("client-2", "ok"),
    ]
    assert "invalid_client" not in await outcomes(rig)


async def test_a_former_registration_gets_another_secret_and_stays_former(rig: Rig, leaks: Leaks) -> None:
    """What was got with it says so and refreshes with the new secret; new consents go on using the current one."""
    await takes(rig, OLD)
    await put(rig, OLD)
    await rig.a_connection("old", expires_in=0)
    await put(rig, "canary-of-client-2", client_id="client-2")
    assert (await rig.api.get(Asking(rig, "old").path)).json()["client_id"] == "client-1"
    of_old = {"client_id": "client-1"}

    await takes(rig, NEW)
    changed = await put(rig, NEW, current=False)
    assert (await rig.token("old")).status_code == 200
    assert (changed["client_id"], changed["current"]) == ("client-1", False)
    assert changed["secrets"]["previous"]["client_secret"] is True
    dropped = await rig.api.delete(PREVIOUS, params=of_old)

    assert dropped.status_code == 204
    del changed["secrets"]["previous"]
    assert (await rig.api.get(CLIENT, params=of_old)).json() == changed
    now = await shown(rig)
    assert (now["client_id"], now["current"]) == ("client-2", True)
    new = Asking(rig, "new")
    await rig.provider.configure(clients={"client-2": "canary-of-client-2"})
    assert (await Person(rig).connect(await new.link())).status_code == 200
    assert (await rig.api.get(new.path)).json()["client_id"] == "client-2"


@on_sqlite
async def test_only_a_registration_that_is_known_is_a_former_one(rig: Rig) -> None:
    """Nobody enters, shows or ends the secret of another; the current one stays current whatever is said."""
    await put(rig, OLD)
    unknown = {"client_id": "client-9"}

    entered = await rig.api.put(CLIENT, json={**unknown, "client_secret": NEW, "current": False})
    refused(entered, 404, "not_found")
    refused(await rig.api.get(CLIENT, params=unknown), 404, "not_found")
    refused(await rig.api.delete(PREVIOUS, params=unknown), 404, "not_found")
    refused(await rig.api.get(CLIENT, params={"client_id": "a\0b"}), 400, "invalid_request")
    assert (await put(rig, NEW, current=False))["current"] is True


# ---- who may resume


@on_sqlite
async def test_who_is_below_does_not_resume_what_was_paused_from_above(rig: Rig) -> None:
    """Nor by registering anew; a key of where it was paused from does, or of further above."""
    await rig.vault.tenants.put(OPERATOR, "acme-eu", parent=TENANT, name="", return_urls=[])
    registration = f"/v1/clients/acme-eu/{PROVIDER}"
    made = await rig.api.put(registration, json={"client_id": "client-1", "client_secret": OLD})
    assert made.status_code == 200
    own, above = [
        {"Authorization": f"Bearer {await rig.key('clients:write', tenant=tenant)}"}
        for tenant in ("acme-eu", TENANT)
    ]

    async def switch(what: str, key: dict[str, str] | None = None) -> httpx.Response:
        return await rig.api.post(f"{registration}/{what}", headers=key or {})

    assert (await switch("pause", own)).status_code == 200
    assert (await switch("pause", above)).status_code == 200  # and from now on it is theirs
    refused(await switch("resume", own), 409, "paused_above")
    refused(await rig.api.delete(registration, headers=own), 409, "paused_above")
    anew = await rig.api.put(registration, json={"client_id": "x", "client_secret": OLD}, headers=own)
    assert "paused_at" in anew.json()
    await rig.vault.tidy()  # the former one is gone, and what is known of the pause is the new one's
    refused(await switch("resume", own), 409, "paused_above")
    assert [row["outcome"] for row in await audited(rig, "caller.denied")] == ["paused_above"] * 3
    assert "paused_at" not in (await switch("resume", above)).json()

    assert [(await switch(what, own)).status_code for what in ("pause", "resume")] == [200, 200]
    assert (await switch("pause", above)).status_code == 200
    assert (await switch("resume")).status_code == 200
    assert (await rig.api.delete(registration, headers=own)).status_code == 204
