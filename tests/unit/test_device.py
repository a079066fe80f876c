"""Device authorization: what the person is told, and what a poll means (RFC 8628)."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import (
    Answer,
    Client,
    ClientRejected,
    DeviceAuthorization,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    Secret,
    TokenSet,
    Transient,
)
from integrations.definition import Definition
from integrations.knobs import TokenFields
from integrations.oauth import OAuthProvider
from tests.conftest import Leaks

CLIENT = Client("client 1", Secret("canary-secret"))
BODY: dict[str, Any] = {
    "device_code": "canary-dc",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example/device",
    "verification_uri_complete": "https://id.example/device?user_code=WDJB-MJHT",
    "expires_in": 1800,
    "interval": 10,
}


def provider(**changed: Any) -> OAuthProvider:
    fields = {
        "authorization_endpoint": "https://id.example/authorize",
        "token_endpoint": "https://id.example/token",
        "device_authorization_endpoint": "https://id.example/device_authorization",
        **changed,
    }
    return OAuthProvider("x", Definition(**fields))


def answered(status: int = 200, **members: Any) -> Answer:
    return Answer(status, {}, json.dumps(members).encode())


def without(*names: str, **other: Any) -> Answer:
    return answered(**{name: value for name, value in {**BODY, **other}.items() if name not in names})


def test_a_device_asks_with_the_client_and_the_scopes() -> None:
    """A form to its own endpoint, however token requests are sent."""
    speaks = provider(token_request_encoding="json", scope_separator=",")
    request = speaks.device_request(CLIENT, ["read", "write"])

    assert request is not None
    assert (request.method, str(request.url)) == ("POST", "https://id.example/device_authorization")
    assert dict(parse_qsl(request.content.decode())) == {"scope": "read,write"}
    assert request.headers["Authorization"].startswith("Basic ")
    assert provider(device_authorization_endpoint=None).device_request(CLIENT, ["read"]) is None


def test_a_poll_sends_the_device_code() -> None:
    """RFC 8628 section 3.4, to the token endpoint."""
    request = provider(token_endpoint_auth_method="none").device_token_request(CLIENT, Secret("canary-dc"))

    assert str(request.url) == "https://id.example/token"
    assert dict(parse_qsl(request.content.decode())) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "canary-dc",
        "client_id": "client 1",
    }


def test_what_the_person_is_told_is_read_whole(leaks: Leaks) -> None:
    """And the device code, which only we poll with, does not show."""
    found = provider().read_device(answered(**BODY))

    assert found == DeviceAuthorization(
        device_code=Secret("canary-dc"),
        user_code="WDJB-MJHT",
        verification_uri="https://id.example/device",
        verification_uri_complete="https://id.example/device?user_code=WDJB-MJHT",
        expires_in=1800,
        interval=10,
    )
    leaks.check(repr(found))


@pytest.mark.parametrize(
    ("value", "believed"), [(None, 5), (0, 5), (-1, 5), (1, 1), ("7", 7), (3600, 60), (10**9, 5), ("soon", 5)]
)
def test_an_interval_is_a_second_to_a_minute(value: Any, believed: int) -> None:
    """Five where it is not said (section 3.2)."""
    assert provider().read_device(without(interval=value)).interval == believed


def test_what_may_be_missing_is_made_up_for() -> None:
    """No complete address, no lifetime, and the name that an address had in the drafts."""
    found = provider().read_device(
        without(
            "verification_uri_complete",
            "expires_in",
            "verification_uri",
            verification_url="https://id.example/d",
        )
    )

    assert (found.verification_uri, found.verification_uri_complete) == ("https://id.example/d", None)
    assert found.expires_in == 600


@pytest.mark.parametrize(
    "answer",
    [
        without("device_code"),
        without("user_code"),
        without("verification_uri"),
        without(user_code="line\nbreak"),
        without(user_code="x" * 3000),
        without(verification_uri="javascript:alert(1)"),
        without(verification_uri="//id.example/device"),
        without(verification_uri="https://"),
        without(verification_uri="https://[canary/"),
        without(verification_uri=5),
        Answer(200, {}, b"<html>canary"),
    ],
)
def test_what_a_person_could_not_follow_is_not_shown(answer: Answer) -> None:
    """No code, no page of the web: no authorization."""
    with pytest.raises(ProviderError) as caught:
        provider().read_device(answer)
    assert caught.value.code == "device_authorization_malformed"
    assert caught.value.__context__ is None


def test_a_complete_address_that_is_none_is_left_out() -> None:
    """The other one is enough."""
    found = provider().read_device(without(verification_uri_complete="javascript:alert(1)"))

    assert found.verification_uri_complete is None


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (answered(401, error="invalid_client"), ClientRejected),
        (answered(400, error="invalid_scope"), Misused),
        (answered(503), Transient),
        (answered(404), Transient),
    ],
)
def test_a_refused_device_means_what_it_would_elsewhere(answer: Answer, meaning: type[ProviderError]) -> None:
    """The same classes as at the token endpoint."""
    with pytest.raises(ProviderError) as caught:
        provider().read_device(answer)
    assert type(caught.value) is meaning


@pytest.mark.parametrize("status", [200, 400, 403, 428, 429])
def test_a_poll_goes_on_waiting_while_nobody_has_decided(status: int) -> None:
    """Whatever the status; and slow_down is of this device, not of the whole provider."""
    speaks = provider()

    pending = speaks.read_device_tokens(answered(status, error="authorization_pending"))
    assert pending == "authorization_pending"
    assert speaks.read_device_tokens(answered(status, error="slow_down")) == "slow_down"


@pytest.mark.parametrize(
    ("answer", "meaning", "code"),
    [
        (answered(400, error="access_denied"), GrantRejected, "access_denied"),
        (answered(400, error="expired_token"), GrantRejected, "expired_token"),
        (answered(400, error="invalid_grant"), GrantRejected, "invalid_grant"),
        (answered(401, error="invalid_client"), ClientRejected, "invalid_client"),
        (answered(400, error="canary"), Transient, "http_400"),
        (answered(502), OutcomeUnknown, "http_502"),
        (answered(200), OutcomeUnknown, "http_200"),
    ],
)
def test_a_poll_that_is_told_anything_else_says_so(
    answer: Answer, meaning: type[ProviderError], code: str
) -> None:
    """Over by the person or by time, or what it would mean elsewhere."""
    with pytest.raises(ProviderError) as caught:
        provider().read_device_tokens(answer)
    assert type(caught.value) is meaning
    assert caught.value.code == code


def test_a_poll_ends_with_tokens() -> None:
    """Read as the definition says."""
    speaks = provider(token_response=TokenFields(access_token="data.token"))

    assert speaks.read_device_tokens(answered(data={"token": "canary-at"})) == TokenSet(Secret("canary-at"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    status=st.integers(100, 599),
    members=st.dictionaries(st.sampled_from([*BODY, "error", "access_token"]), json_values | st.just("canary")),
)
def test_any_answer_is_read_or_refused(status: int, members: dict[str, Any]) -> None:
    """Total, for both endpoints, and nothing of its text is in a failure."""
    for read in (provider().read_device, provider().read_device_tokens):
        found = failure(read, answered(status, **members))

        assert found is None or "canary" not in found.code


def failure(read: Callable[[Answer], object], answer: Answer) -> ProviderError | None:
    try:
        read(answer)
    except ProviderError as error:
        return error
    return None
