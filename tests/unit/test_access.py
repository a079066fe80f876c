"""API keys and their limits, as far as they need no database."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.access import SCOPES, Caller, exceeds, key_digest, new_key
from vault.keyring import Keyring

SOON = datetime(2026, 1, 1, tzinfo=UTC)
LATER = SOON + timedelta(days=1)


def caller(*scopes: str, **limits: Any) -> Caller:
    unlimited = {"providers": None, "names": None, "expires_at": None}
    who: dict[str, Any] = {"id": "a", "name": "a", "actor": "caller:a", "tenant": "acme"}
    return Caller(**who, scopes=frozenset(scopes), **{**unlimited, **limits})


def wanted(*scopes: str, **limits: Any) -> dict[str, Any]:
    return {"scopes": list(scopes), "providers": None, "names": None, "expires_at": None, **limits}


def test_a_key_names_its_kind_its_caller_and_its_checksum() -> None:
    """A scanner recognises a leaked key by its prefix and shape; its id is the caller's."""
    identity, key = new_key()

    assert re.fullmatch(rf"tv_{identity}_[0-9a-f]{{64}}_[0-9a-f]{{8}}", key.reveal())
    assert identity not in repr(key)


def test_no_two_keys_are_alike() -> None:
    """Ids and secrets are drawn anew for each key."""
    made = [new_key() for _ in range(1000)]

    assert len({identity for identity, _ in made}) == 1000
    assert len({key.reveal().split("_")[2] for _, key in made}) == 1000


def test_what_is_stored_of_a_key_depends_on_the_installation() -> None:
    """A digest stolen from one installation is worth nothing at another."""
    _, key = new_key()
    one, other = (Keyring("i", {1: bytes(32)}, 1, root) for root in (bytes(32), b"\1" * 32))

    assert key_digest(one, key) == key_digest(one, key) != key_digest(other, key)
    assert key.reveal().encode() not in key_digest(one, key)


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "admin"])
def test_a_key_has_the_scopes_that_it_was_given(scope: str) -> None:
    """A scope implies no other; admin implies all."""
    assert [one for one in SCOPES if caller(scope).has(one)] == [scope]
    assert caller("admin").has(scope)
    assert not caller().has(scope)


@pytest.mark.parametrize(
    ("limits", "provider", "name", "reached"),
    [
        ({}, "google", "c", True),
        ({}, None, None, True),
        ({"providers": frozenset({"google"})}, "google", "c", True),
        ({"providers": frozenset({"google"})}, "twilio", "c", False),
        ({"providers": frozenset({"google"})}, None, None, True),
        ({"providers": frozenset()}, "google", "c", False),
        ({"names": frozenset({"c"})}, "google", "c", True),
        ({"names": frozenset({"c"})}, "google", "d", False),
        ({"names": frozenset({"c"})}, "google", "C", False),
        ({"names": frozenset()}, "google", "c", False),
        ({"providers": frozenset({"google"}), "names": frozenset({"c"})}, "google", "d", False),
        ({"providers": frozenset({"google"}), "names": frozenset({"c"})}, "twilio", "c", False),
    ],
)
def test_a_limit_holds_for_providers_and_names_alike(
    limits: dict[str, Any], provider: str | None, name: str | None, *, reached: bool
) -> None:
    """None is no limit; an empty limit reaches nothing."""
    assert caller("admin", **limits).reaches(provider, name) is reached


@pytest.mark.parametrize(
    ("maker", "above", "asked", "beyond"),
    [
        (caller("admin"), ["acme"], wanted(*SCOPES), None),
        (caller("admin"), ["globex", "platform"], wanted("tokens:read"), "tenant"),
        (caller("admin"), [], wanted("tokens:read"), "tenant"),
        (caller("admin"), ["acme-eu", "acme", "platform"], wanted("admin"), None),
        (caller("callers:write"), ["acme"], wanted("callers:write"), None),
        (caller("callers:write"), ["acme"], wanted("tokens:read"), "scopes"),
        (caller("callers:write"), ["acme"], wanted("admin"), "scopes"),
        (caller(*SCOPES[:-1]), ["acme"], wanted("admin"), "scopes"),
        (caller("admin", providers=frozenset({"a"})), ["acme"], wanted("admin"), "providers"),
        (
            caller("admin", providers=frozenset({"a"})),
            ["acme"],
            wanted("admin", providers=["a", "b"]),
            "providers",
        ),
        (caller("admin", providers=frozenset({"a", "b"})), ["acme"], wanted("admin", providers=["a"]), None),
        (caller("admin", names=frozenset({"a"})), ["acme"], wanted("admin"), "names"),
        (caller("admin", names=frozenset({"a"})), ["acme"], wanted("admin", names=["b"]), "names"),
        (caller("admin", names=frozenset({"a"})), ["acme"], wanted("admin", names=["a"]), None),
        (caller("admin", expires_at=SOON), ["acme"], wanted("admin"), "expires_at"),
        (caller("admin", expires_at=SOON), ["acme"], wanted("admin", expires_at=LATER), "expires_at"),
        (caller("admin", expires_at=SOON), ["acme"], wanted("admin", expires_at=SOON), None),
        (caller("admin"), ["acme"], wanted("admin", expires_at=LATER), None),
    ],
)
def test_nobody_gives_away_more_than_they_have(
    maker: Caller, above: list[str], asked: dict[str, Any], beyond: str | None
) -> None:
    """The first thing in which the wanted key goes beyond its maker's is named."""
    assert exceeds(maker, above=above, wanted=asked) == beyond


names_of = st.none() | st.sets(st.sampled_from("abc"))
moments = st.none() | st.sampled_from([SOON, LATER])
powers = st.fixed_dictionaries(
    {"scopes": st.sets(st.sampled_from(SCOPES)), "providers": names_of, "names": names_of, "expires_at": moments}
)


@given(maker=powers, asked=powers, provider=st.sampled_from("abc"), name=st.sampled_from("abc"))
def test_a_made_key_does_nothing_that_its_maker_could_not(
    maker: dict[str, Any], asked: dict[str, Any], provider: str, name: str
) -> None:
    """Whatever limits are combined: where the made key may do something, so may its maker."""

    def of(power: dict[str, Any]) -> Caller:
        sets = {key: None if power[key] is None else frozenset(power[key]) for key in ("providers", "names")}
        return caller(*power["scopes"], expires_at=power["expires_at"], **sets)

    if exceeds(of(maker), above=["acme"], wanted=asked) is None:
        for scope in SCOPES:
            assert of(maker).has(scope) or not of(asked).has(scope)
        assert of(maker).reaches(provider, name) or not of(asked).reaches(provider, name)
        ends = maker["expires_at"]
        assert ends is None or (asked["expires_at"] is not None and asked["expires_at"] <= ends)
