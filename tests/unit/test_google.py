"""Google's dialect: what it sends, and what it makes of each answer."""

import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from integrations.advice import ADVICE
from integrations.builtin import providers
from integrations.contract import (
    Answer,
    AuthorizationRequest,
    Client,
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Root,
    Secret,
    Transient,
    Unreadable,
)
from integrations.endpoints import GOOGLE
from integrations.google.provider import TESTING, Google

DAY = 86_400
PROVIDER = Google(GOOGLE)
CLIENT = Client("client-1", Secret("canary-secret"))
TOKEN = Secret("canary-at")
KEY = RSAKey.generate_key(2048)
PEM = KEY.as_pem(private=True).decode()
DRIVE = "https://www.googleapis.com/auth/drive.readonly"


def asked(*, holds: bool = False) -> AuthorizationRequest:
    return AuthorizationRequest(
        client=CLIENT,
        redirect_uri="https://vault.example/oauth/callback/google",
        state="canary-state",
        nonce="canary-nonce",
        code_verifier=Secret("v" * 43),
        scopes=PROVIDER.asking(["email", DRIVE]),
        holds_refresh_token=holds,
    )


def form(request: httpx.Request) -> dict[str, str]:
    assert request.headers["Content-Type"].partition(";")[0] == "application/x-www-form-urlencoded"
    pairs = parse_qsl(request.content.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def answer(body: Any, status: int = 400) -> Answer:
    return Answer(status, body=json.dumps(body).encode())


# ---- asking


def test_a_consent_is_asked_for_with_offline_access_and_the_account() -> None:
    """Offline access and `openid` always, scopes as they will come back, and nothing incremental."""
    url = PROVIDER.authorization_url(asked())
    parameters = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))

    assert url.startswith("https://accounts.google.com/o/oauth2/v2/auth?")
    assert parameters["access_type"] == "offline"
    assert parameters["scope"] == f"openid https://www.googleapis.com/auth/userinfo.email {DRIVE}"
    assert parameters["code_challenge_method"] == "S256"
    assert parameters["nonce"] == "canary-nonce"
    assert "include_granted_scopes" not in parameters


def test_consent_is_prompted_for_exactly_where_no_refresh_token_is_held() -> None:
    """Each prompt makes one more refresh token, and of a hundred the oldest dies."""
    prompted, held = PROVIDER.authorization_url(asked()), PROVIDER.authorization_url(asked(holds=True))

    assert dict(parse_qsl(urlsplit(prompted).query))["prompt"] == "consent"
    assert "prompt" not in dict(parse_qsl(urlsplit(held).query))


def test_the_client_authenticates_in_the_body() -> None:
    """As Google's documents show it, for the code and for each refresh."""
    code = form(PROVIDER.code_request(asked(), Secret("canary-code")))
    refresh = form(PROVIDER.renew_request(Root(kind="oauth2", client=CLIENT, refresh_token=Secret("canary-rt"))))

    assert code["client_secret"] == refresh["client_secret"] == "canary-secret"
    assert code["code_verifier"] == "v" * 43
    assert refresh["grant_type"] == "refresh_token"


def test_endpoints_are_googles_unless_they_are_moved() -> None:
    """Each of them can be elsewhere, and what is in force is shown."""
    assert providers({})["google"].endpoints == GOOGLE
    for name in GOOGLE:
        moved = providers({"google": {name: "https://proxy.example/x"}})["google"]
        assert moved.endpoints == {**GOOGLE, name: "https://proxy.example/x"}


@pytest.mark.parametrize(
    ("parameters", "meaning", "code"),
    [
        ({"iss": "https://evil.example"}, Unreadable, "iss_mismatch"),
        ({"error": "admin_policy_enforced"}, GrantRejected, "admin_policy_enforced"),
        ({"error": "org_internal"}, GrantRejected, "org_internal"),
        ({"error": "access_denied"}, GrantRejected, "access_denied"),
        ({"error": "redirect_uri_mismatch"}, ClientRejected, "redirect_uri_mismatch"),
        ({"error": "disallowed_useragent"}, Misused, "disallowed_useragent"),
        ({"error": "invalid_scope"}, Misused, "invalid_scope"),
    ],
)
def test_what_a_person_is_sent_back_with_is_told_apart(
    parameters: dict[str, str], meaning: type[ProviderError], code: str
) -> None:
    """Google's own words at consent time, and an issuer that is not Google."""
    with pytest.raises(meaning) as caught:
        PROVIDER.check_authorization_answer(parameters)
    assert caught.value.code == code


@pytest.mark.parametrize("parameters", [{}, {"iss": "https://accounts.google.com"}, {"error": "canary-odd"}])
def test_an_answer_from_google_passes(parameters: dict[str, str]) -> None:
    """The issuer is optional; a word that nobody knows is for the caller to hide."""
    PROVIDER.check_authorization_answer(parameters)


# ---- what refusals mean, row by row


def grant(description: str, **more: str) -> dict[str, str]:
    return {"error": "invalid_grant", "error_description": description, **more}


SHORT_LIVED = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    " Check your iat and exp values in the JWT claim."
)
UNDELEGATED = (
    "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of"
    " the scopes requested."
)
REFUSALS: list[tuple[Any, int, type[ProviderError], str]] = [
    (grant("Token has been expired or revoked."), 400, GrantRejected, "expired_or_revoked"),
    (grant("Account has been deleted"), 400, GrantRejected, "account_deleted"),
    (grant("Bad Request"), 400, GrantRejected, "invalid_grant"),
    ({"error": "invalid_grant"}, 400, GrantRejected, "invalid_grant"),
    (grant("reauth related error", error_subtype="invalid_rapt"), 400, GrantRejected, "invalid_rapt"),
    (grant("reauth related error", error_subtype="rapt_required"), 400, GrantRejected, "invalid_rapt"),
    (grant("Bad Request", error_subtype="canary-new"), 400, GrantRejected, "invalid_grant"),
    ({"error": "rapt_required"}, 400, GrantRejected, "invalid_rapt"),
    (grant("x", error_subtype="admin_policy_enforced"), 400, GrantRejected, "admin_policy_enforced"),
    ({"error": "admin_policy_enforced"}, 400, GrantRejected, "admin_policy_enforced"),
    (grant("Invalid JWT Signature."), 400, GrantRejected, "invalid_jwt_signature"),
    (grant(SHORT_LIVED), 400, Misused, "clock_skew"),
    (grant("Invalid grant: account not found"), 400, GrantRejected, "service_account_not_found"),
    (grant("Invalid email or User ID"), 400, GrantRejected, "subject_unknown"),
    ({"error": "unauthorized_client", "error_description": UNDELEGATED}, 401, GrantRejected, "not_delegated"),
    (
        {"error": "unauthorized_client", "error_description": "Unauthorized"},
        401,
        ClientRejected,
        "unauthorized_client",
    ),
    ({"error": "invalid_client"}, 401, ClientRejected, "invalid_client"),
    ({"error": "deleted_client"}, 401, ClientRejected, "deleted_client"),
    ({"error": "redirect_uri_mismatch"}, 400, ClientRejected, "redirect_uri_mismatch"),
    ({"error": "org_internal"}, 403, GrantRejected, "org_internal"),
    ({"error": "access_denied"}, 403, GrantRejected, "access_denied"),
    ({"error": "disallowed_useragent"}, 403, Misused, "disallowed_useragent"),
    ({"error": "invalid_scope"}, 400, Misused, "invalid_scope"),
    ({"error": "internal_failure"}, 500, Transient, "internal_failure"),
    ({"error": "temporarily_unavailable"}, 503, Transient, "temporarily_unavailable"),
    ({"error": "rate_limit_exceeded"}, 403, RateLimited, "rate_limit_exceeded"),
    ({"error": "rate_limit_exceeded"}, 429, RateLimited, "rate_limit_exceeded"),
    ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, 429, RateLimited, "http_429"),
    ({"error": {"code": 403, "status": "PERMISSION_DENIED"}}, 403, Transient, "http_403"),
    ("<html>canary-page", 500, Transient, "http_500"),
    ("<html>canary-page", 502, OutcomeUnknown, "http_502"),
    ({"error_subtype": "invalid_rapt"}, 400, Transient, "http_400"),
]


@pytest.mark.parametrize(("body", "status", "meaning", "code"), REFUSALS)
def test_each_refusal_has_a_class_and_a_word(
    body: Any, status: int, meaning: type[ProviderError], code: str
) -> None:
    """A dead grant, a strict Workspace, a dead key, a wrong clock and a bad day at Google are not the same."""
    with pytest.raises(ProviderError) as caught:
        PROVIDER.read_tokens(answer(body, status))

    assert (type(caught.value), caught.value.code) == (meaning, code)


@given(st.text(), st.text(), st.sampled_from(["invalid_grant", "unauthorized_client", "x"]), st.integers(200, 599))
def test_no_text_of_googles_becomes_a_code(subtype: str, sentence: str, word: str, status: int) -> None:
    """Codes are ours or the standard's, whatever the answer says."""
    body = {"error": word, "error_subtype": subtype, "error_description": sentence}
    with pytest.raises(ProviderError) as caught:
        PROVIDER.read_tokens(answer(body, status))

    known = {code for *_, code in REFUSALS} | {f"http_{status}"}
    assert caught.value.code in known


@pytest.mark.parametrize(
    ("lived", "promised", "code"),
    [
        (7 * DAY, TESTING - 1, "testing_app_expired"),
        (7 * DAY, None, "testing_app_expired"),
        (int(6.5 * DAY), None, "testing_app_expired"),
        (int(7.5 * DAY), None, "testing_app_expired"),
        (int(6.5 * DAY) - 1, None, "expired_or_revoked"),
        (int(7.5 * DAY) + 1, None, "expired_or_revoked"),
        (7 * DAY, 30 * DAY, "expired_or_revoked"),
        (DAY, TESTING - 1, "expired_or_revoked"),
        (30 * DAY, 30 * DAY, "time_limit_reached"),
        (29 * DAY, 30 * DAY, "expired_or_revoked"),
    ],
)
def test_a_grant_that_dies_after_a_week_is_of_an_app_in_testing(
    lived: int, promised: int | None, code: str
) -> None:
    """Half a day around the seventh, where a week was promised or nothing was; any other limit is just one."""
    assert PROVIDER.why_over("expired_or_revoked", lived, promised) == code


@pytest.mark.parametrize("code", ["invalid_rapt", "admin_policy_enforced", "account_deleted"])
def test_a_reason_that_google_gave_is_not_guessed_over(code: str) -> None:
    """Only words that do not say why are explained by age."""
    assert PROVIDER.why_over(code, TESTING, None) == code


def test_what_a_person_can_do_is_said() -> None:
    """Every word of Google's own, and each that is ours, has a sentence."""
    ours = {
        code
        for _, _, meaning, code in REFUSALS
        if meaning in {GrantRejected} and code not in {"invalid_grant", "access_denied"}
    }
    assert ours | {"testing_app_expired", "time_limit_reached", "no_refresh_token", "clock_skew"} <= set(ADVICE)


# ---- the probe, and the end


def test_the_probe_says_the_token_in_no_address() -> None:
    """It goes in the body, where nobody logs it."""
    request = PROVIDER.probe_request(TOKEN)

    assert request is not None
    assert (request.method, str(request.url)) == ("POST", GOOGLE["tokeninfo_endpoint"])
    assert form(request) == {"access_token": "canary-at"}


def tokeninfo(**changed: Any) -> dict[str, Any]:
    known = {"aud": "client-1", "azp": "client-1", "scope": f"openid {DRIVE}", "expires_in": "3599"}
    return {name: value for name, value in (known | changed).items() if value is not None}


@pytest.mark.parametrize(
    ("body", "status", "verdict"),
    [
        (tokeninfo(), 200, "valid"),
        (tokeninfo(aud="other"), 200, "valid"),  # azp is ours
        (tokeninfo(azp=None), 200, "valid"),
        (tokeninfo(scope="openid"), 200, "limited"),
        (tokeninfo(scope=None), 200, "limited"),
        (tokeninfo(aud="other", azp="other"), 200, "invalid"),
        (tokeninfo(expires_in="0"), 200, "invalid"),
        (tokeninfo(expires_in="-5"), 200, "valid"),
        ({"error": "invalid_token", "error_description": "Invalid Value"}, 400, "invalid"),
        (tokeninfo(aud=None, azp=None), 200, "unknown"),
        ({}, 200, "unknown"),
        ({"error": "invalid_request"}, 400, "unknown"),
        ("<html>", 400, "unknown"),
        (tokeninfo(), 500, "unknown"),
        ({"error": "invalid_token"}, 500, "unknown"),
    ],
)
def test_a_probe_has_four_answers(body: Any, status: int, verdict: str) -> None:
    """Good, good for less, not ours or dead, and nobody can tell."""
    assert PROVIDER.read_probe(answer(body, status), CLIENT, ["openid", DRIVE]) == verdict


def test_a_token_of_no_client_of_ours_is_not_held_against_one() -> None:
    """A service account's tokens name the account itself."""
    assert PROVIDER.read_probe(answer(tokeninfo(aud="sa", azp="sa"), 200), None, []) == "valid"


def test_revoking_says_the_token_and_nothing_else() -> None:
    """Google's own endpoint takes no client, and ends all that the account granted to the project."""
    request = PROVIDER.revoke_request(CLIENT, TOKEN)

    assert request is not None
    assert (request.method, str(request.url)) == ("POST", GOOGLE["revocation_endpoint"])
    assert form(request) == {"token": "canary-at"}
    assert "Authorization" not in request.headers
    assert PROVIDER.revocation_scope == "project"
    assert PROVIDER.revoke_request(None, TOKEN) is None  # a service account's end is its key's


# ---- service accounts


def key_file(**changed: Any) -> str:
    known = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": "key-1",
        "private_key": PEM,
        "client_email": "robot@project-1.iam.gserviceaccount.com",
        "client_id": "1234567890",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps({name: value for name, value in (known | changed).items() if value is not None}) + "\n"


def credentials(content: str | None = None, **more: str) -> dict[str, Secret]:
    given = {"service_account_json": content or key_file(), "scope": DRIVE, **more}
    return {name: Secret(value) for name, value in given.items()}


def assertion(**more: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of what is sent, verified."""
    request = PROVIDER.renew_request(Root(kind="service_account", credentials=credentials(**more)))
    sent = form(request)
    assert str(request.url) == GOOGLE["token_endpoint"]
    assert sent.keys() == {"grant_type", "assertion"}
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    token = jwt.decode(sent["assertion"], KEY, algorithms=["RS256"])
    return token.header, token.claims


def test_an_assertion_says_who_for_what_and_for_an_hour() -> None:
    """RFC 7523 as Google wants it: RS256, the key's id, the scope as a claim, back-dated a little."""
    header, claims = assertion()

    assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    assert claims["iss"] == "robot@project-1.iam.gserviceaccount.com"
    assert claims["aud"] == "https://oauth2.googleapis.com/token"
    assert claims["scope"] == DRIVE
    assert claims["exp"] - claims["iat"] == 3600
    assert 0 < time.time() - claims["iat"] < 60
    assert "sub" not in claims


def test_an_assertion_may_be_for_somebody() -> None:
    """Impersonation is a claim, and the account says who acts for whom."""
    _, claims = assertion(subject="ann@example.test")
    account = PROVIDER.entered("service_account", credentials(subject="ann@example.test"))

    assert claims["sub"] == "ann@example.test"
    assert account is not None
    assert account.subject == "project-1/robot@project-1.iam.gserviceaccount.com"
    assert account.label == "ann@example.test by robot@project-1.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    "uri",
    [None, "https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token"],
)
def test_an_assertion_goes_to_google_whatever_the_file_says(uri: str | None) -> None:
    """Key files of every age are taken, and none of them says where to send anything."""
    root = Root(kind="service_account", credentials=credentials(key_file(token_uri=uri)))
    assert str(PROVIDER.renew_request(root).url) == GOOGLE["token_endpoint"]


EC = ECKey.generate_key("P-256").as_pem(private=True).decode()
PUBLIC = KEY.as_pem(private=False).decode()
BAD_FILES: list[tuple[str, str]] = [
    ("canary-no-json", "key_file_malformed"),
    ("[]", "key_file_malformed"),
    ("{}", "key_file_malformed"),
    ("[" * 100_000, "key_file_malformed"),
    (key_file(type=None), "no_service_account"),
    (key_file(type="authorized_user"), "no_service_account"),
    (key_file(token_uri="https://evil.example/token"), "token_uri_refused"),
    (key_file(token_uri="https://oauth2.googleapis.com.evil.example/token"), "token_uri_refused"),
    (key_file(token_uri="https://oauth2.googleapis.com@evil.example/token"), "token_uri_refused"),
    (key_file(token_uri="http://169.254.169.254/token"), "token_uri_refused"),
    (key_file(token_uri="https://["), "token_uri_refused"),
    (key_file(token_uri=17), "token_uri_refused"),
    (key_file(token_uri=""), "token_uri_refused"),
    (key_file(client_email=None), "key_file_incomplete"),
    (key_file(client_email=["x"]), "key_file_incomplete"),
    (key_file(client_email="robot\n@x"), "key_file_incomplete"),
    (key_file(client_email="\ud800"), "key_file_incomplete"),
    (key_file(project_id=None), "key_file_incomplete"),
    (key_file(private_key=None), "key_file_incomplete"),
    (key_file(private_key="canary-key"), "private_key_malformed"),
    (key_file(private_key=PEM[:200]), "private_key_malformed"),
    (key_file(private_key=EC), "private_key_malformed"),
    (key_file(private_key=PUBLIC), "private_key_malformed"),
    (key_file(private_key=PEM.replace("PRIVATE", "CANARY-")), "private_key_malformed"),
]


@pytest.mark.parametrize(("content", "code"), BAD_FILES)
def test_a_file_that_is_no_key_file_is_refused_by_one_word(content: str, code: str) -> None:
    """Each way of being wrong has a word, and not a letter of the file is in it."""
    for use in (
        lambda: PROVIDER.entered("service_account", credentials(content)),
        lambda: PROVIDER.renew_request(Root(kind="service_account", credentials=credentials(content))),
    ):
        with pytest.raises(Unreadable) as caught:
            use()
        assert caught.value.code == code
        assert str(caught.value) == code
        assert caught.value.__cause__ is None


@given(st.text())
def test_any_text_is_a_key_file_or_a_refusal(content: str) -> None:
    """No text makes the reader fail in any other way."""
    with pytest.raises(Unreadable):
        PROVIDER.entered("service_account", credentials(content or "x"))


def test_what_a_refused_answer_was_never_shows_the_key() -> None:
    """Neither the root nor its request says a secret when it is printed."""
    root = Root(kind="service_account", credentials=credentials())
    assert "PRIVATE" not in repr(root)
