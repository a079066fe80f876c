"""What Meta's answers mean. Sources: as in `integrations/whatsapp/refusals.py`."""

import json
import time
from typing import Any

from integrations.contract import Answer, AuthorizationRequest, Client, Root, Secret, Steps
from integrations.endpoints import BUILT_IN
from integrations.whatsapp.provider import WhatsApp
from tests.vendors.cases import Case

DAY = 86_400
META = WhatsApp(BUILT_IN["whatsapp"])
APP = Client("4711", Secret("canary-app-secret"))
TOKEN = Secret("EAA-canary-1")
SCOPES = ["whatsapp_business_management", "whatsapp_business_messaging"]
EXCHANGED = {"access_token": "EAA-canary-2", "token_type": "bearer", "expires_in": 5_183_944}


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body if isinstance(body, bytes) else json.dumps(body).encode())


def refusal(code: Any, subcode: Any = None, status: int = 400, message: str = "?", **more: Any) -> Answer:
    error = {"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode, **more}
    return answer({"error": error}, status)


def debugged(**changed: Any) -> Answer:
    data = {
        "app_id": "4711",
        "type": "SYSTEM_USER",
        "application": "Acme",
        "data_access_expires_at": 0,
        "expires_at": int(time.time()) + 10 * DAY,
        "is_valid": True,
        "scopes": SCOPES,
        "granular_scopes": [{"scope": SCOPES[0], "target_ids": ["1001"]}],
        "user_id": "88",
    }
    return answer({"data": {**data, **changed}})


def dead(**error: Any) -> Answer:
    return answer({"data": {"is_valid": False, "error": {"message": "?", **error}, "scopes": []}})


def renewing() -> Steps[object]:
    return META.renew(Root(kind="access_token", client=APP, refresh_token=TOKEN))


def proving() -> Steps[object]:
    return META.prove(Root(kind="access_token", client=APP, credentials={"access_token": TOKEN}))


def signing_up() -> Steps[object]:
    return META.prove(Root(kind="embedded_signup", client=APP, credentials={"code": Secret("AQ-canary")}))


def probing() -> Steps[object]:
    return META.probe(Root(kind="access_token", client=APP), TOKEN)


def revoking() -> Steps[object]:
    steps = META.revoke(Root(kind="access_token", client=APP), TOKEN)
    assert steps is not None
    return steps


def asked(client: Client = APP) -> AuthorizationRequest:
    return AuthorizationRequest(
        client=client,
        redirect_uri="https://vault.example/oauth/callback/whatsapp",
        state="s",
        nonce="n",
        code_verifier=Secret("canary-verifier"),
        scopes=SCOPES,
    )


def redeeming() -> Steps[object]:
    return META.redeem(asked(), Secret("AQ-canary"))


def _exchange(what: str, refused: Answer, expected: str) -> Case:
    """A living token whose exchange is refused."""
    return Case(what, renewing, (debugged(), refused), expected)


def _dead(subcode: int, word: str) -> tuple[Case, ...]:
    """A token that is dead for one reason: as `debug_token` says it, and as an exchange would."""
    return (
        Case(f"renew, dead {subcode}", renewing, (dead(code=190, subcode=subcode),), f"GrantRejected {word}"),
        Case(f"probe, dead {subcode}", probing, (dead(code=190, subcode=subcode),), f"invalid {word}"),
        _exchange(f"exchange, dead {subcode}", refusal(190, subcode), f"GrantRejected {word}"),
    )


_LOST = "OutcomeUnknown http_502"
CASES: tuple[Case, ...] = (
    # ---- dead tokens
    *_dead(458, "app_removed"),
    *_dead(459, "checkpoint"),
    *_dead(460, "password_changed"),
    *_dead(461, "app_reinstalled"),
    *_dead(462, "session_stale"),
    *_dead(463, "token_expired"),
    *_dead(464, "user_unconfirmed"),
    *_dead(465, "user_invalid"),
    *_dead(466, "token_revoked"),
    *_dead(467, "logged_out"),
    *_dead(468, "token_unused"),
    *_dead(492, "page_role_lost"),
    Case("dead without a reason", renewing, (dead(code=190),), "GrantRejected token_invalid"),
    Case(
        "dead without an error", proving, (answer({"data": {"is_valid": False}}),), "GrantRejected token_invalid"
    ),
    Case("the reason as text", renewing, (dead(code="190", subcode="463"),), "GrantRejected token_expired"),
    Case("of another spelling", renewing, (dead(code=190, error_subcode=460),), "GrantRejected password_changed"),
    _exchange("190 alone", refusal(190), "GrantRejected token_invalid"),
    _exchange("190 with a 500", refusal(190, status=500), "GrantRejected token_invalid"),
    _exchange("102", refusal(102), "GrantRejected token_invalid"),
    _exchange("0", refusal(0), "GrantRejected not_authenticated"),
    _exchange("an OAuthException without a code", refusal(None), "GrantRejected token_invalid"),
    # ---- permissions
    _exchange("3", refusal(3), "Transient whatsapp_permission_missing"),
    _exchange("10", refusal(10, status=403), "Transient whatsapp_permission_missing"),
    _exchange("200", refusal(200), "Transient whatsapp_permission_missing"),
    _exchange("299", refusal(299), "Transient whatsapp_permission_missing"),
    # ---- what passes
    _exchange("1", refusal(1, status=500), "Transient unknown_error"),
    _exchange("2", refusal(2, status=500), "Transient service_unavailable"),
    _exchange("368", refusal(368), "Transient policy_block"),
    _exchange("130429", refusal(130_429, status=429), "Transient whatsapp_busy"),
    _exchange("131016", refusal(131_016), "Transient whatsapp_busy"),
    _exchange("an unknown code", refusal(999_999), "Transient http_400"),
    _exchange("an unknown code that passes", refusal(999_999, is_transient=True), "Transient passing_error"),
    _exchange("a proxy's page", answer(b"<html>", 403), "Transient http_403"),
    _exchange("garbage", answer(b"{", 401), "Transient http_401"),
    _exchange("no token", answer({"token_type": "bearer"}), "Transient http_200"),
    _exchange("a token that is null", answer({"access_token": None}), "Transient http_200"),
    _exchange("a lost gateway", answer(b"", 502), "Transient http_502"),
    Case("a lost gateway before", renewing, (answer(b"", 504),), "Transient http_504"),
    Case("no word of it", renewing, (answer({"data": {}}),), "Transient http_200"),
    Case("a word that is no boolean", renewing, (debugged(is_valid="false"),), "Transient http_200"),
    Case(
        "a successor that is dead",
        renewing,
        (debugged(), answer(EXCHANGED), dead()),
        "Transient exchanged_token_dead",
    ),
    # ---- throttled
    _exchange("4", refusal(4, status=403), "RateLimited app_throttled"),
    _exchange("17", refusal(17), "RateLimited user_throttled"),
    _exchange("32", refusal(32), "RateLimited page_throttled"),
    _exchange("341", refusal(341), "RateLimited app_limit_reached"),
    _exchange("613", refusal(613), "RateLimited call_limit_reached"),
    _exchange("613 that passes", refusal(613, is_transient=True), "RateLimited call_limit_reached"),
    _exchange("80000", refusal(80_000), "RateLimited business_throttled"),
    _exchange("80007", refusal(80_007), "RateLimited business_throttled"),
    _exchange("80014", refusal(80_014), "RateLimited business_throttled"),
    _exchange("429 of a proxy", answer(b"", 429), "RateLimited http_429"),
    # ---- the app
    _exchange("101", refusal(101), "ClientRejected app_unknown"),
    _exchange(
        "a wrong secret",
        refusal(1, message="Error validating client secret."),
        "ClientRejected client_secret_invalid",
    ),
    _exchange("a wrong app", refusal(101, message="Error validating application."), "ClientRejected app_unknown"),
    _exchange(
        "a wrong proof", refusal(100, message="Invalid appsecret_proof"), "ClientRejected appsecret_proof_refused"
    ),
    Case("who asks is unknown", renewing, (refusal(190),), "ClientRejected app_refused"),
    Case("who asks is unknown, as entered", proving, (refusal(190),), "ClientRejected app_refused"),
    Case("who asks may not", proving, (refusal(200),), "ClientRejected app_refused"),
    _exchange("100", refusal(100), "Misused invalid_parameter"),
    # ---- another app's
    Case(
        "of another app",
        proving,
        (refusal(100, message="The App_id in the input_token did not match the Viewing App"),),
        "GrantRejected other_app",
    ),
    Case("of another app, it says", proving, (debugged(app_id="4712"),), "GrantRejected other_app"),
    Case("of another app, at a look", probing, (debugged(app_id=4712),), "invalid other_app"),
    # ---- good
    Case("recognised", proving, (debugged(),), "valid"),
    Case("recognised, never ends", proving, (debugged(expires_at=0),), "valid"),
    Case("ids are numbers", proving, (debugged(app_id=4711, user_id=88),), "valid"),
    Case("moments are text", proving, (debugged(expires_at=str(int(time.time()) + DAY)),), "valid"),
    Case("an end beyond belief", proving, (debugged(expires_at=10**14),), "valid"),
    Case("next to nothing is said", proving, (answer({"data": {"is_valid": True, "scopes": SCOPES}}),), "valid"),
    Case("one scope only", proving, (debugged(scopes=SCOPES[:1]),), "limited whatsapp_permission_missing"),
    Case("no scopes", probing, (debugged(scopes=None),), "limited whatsapp_permission_missing"),
    Case("it has just ended", probing, (debugged(expires_at=1),), "invalid token_expired"),
    Case(
        "its data may be seen no more",
        probing,
        (debugged(data_access_expires_at=1),),
        "invalid data_access_expired",
    ),
    Case("nor renewed", renewing, (debugged(data_access_expires_at=1),), "GrantRejected data_access_expired"),
    Case("nobody can tell", proving, (answer(b"", 503),), "unknown http_503"),
    Case("nobody can tell, throttled", proving, (refusal(4),), "unknown app_throttled"),
    Case("nobody can tell, at a gateway", proving, (answer(b"", 502),), "unknown http_502"),
    Case("at a look", probing, (debugged(),), "valid"),
    Case("renewed", renewing, (debugged(), answer(EXCHANGED), debugged()), "tokens"),
    Case("renewed, and no more is known", renewing, (debugged(), answer(EXCHANGED), answer(b"", 500)), "tokens"),
    Case("what never ends is not exchanged", renewing, (debugged(expires_at=0),), "tokens"),
    # ---- a login's code
    Case(
        "a login",
        redeeming,
        (
            answer(EXCHANGED),
            debugged(type="USER", expires_at=int(time.time()) + 5400),
            answer(EXCHANGED),
            debugged(type="USER"),
        ),
        "tokens",
    ),
    Case(
        "a login, not exchanged now",
        redeeming,
        (answer(EXCHANGED), debugged(type="USER", expires_at=int(time.time()) + 5400), refusal(2)),
        "tokens",
    ),
    Case("a login, and no more is known", redeeming, (answer(EXCHANGED), answer(b"", 500)), "tokens"),
    Case(
        "a login of a dead account",
        redeeming,
        (answer(EXCHANGED), dead(code=190, subcode=459)),
        "GrantRejected checkpoint",
    ),
    Case("a code too late", redeeming, (refusal(100, 36_007),), "GrantRejected code_expired"),
    Case("a code again", redeeming, (refusal(100, 36_009),), "GrantRejected code_used"),
    Case("a code of another address", redeeming, (refusal(100, 36_008),), "ClientRejected redirect_uri_mismatch"),
    Case("a code at a lost gateway", redeeming, (answer(b"", 502),), _LOST),
    Case("a signup", signing_up, (answer({"access_token": "EAA-canary-3"}), debugged(expires_at=0)), "valid"),
    Case("a signup's code too late", signing_up, (refusal(100, 36_007),), "GrantRejected code_expired"),
    Case("a signup's code at a bad time", signing_up, (answer(b"", 502),), "GrantRejected code_not_exchanged"),
    # ---- revoked
    Case("a system user's", revoking, (debugged(), answer({"success": True})), "True"),
    Case("a person's", revoking, (debugged(type="USER"), answer({"success": True})), "True"),
    Case("dead already", revoking, (dead(code=190, subcode=463),), "True"),
    Case("dead meanwhile", revoking, (debugged(), refusal(190)), "True"),
    Case("not allowed", revoking, (debugged(), refusal(200)), "GrantRejected whatsapp_permission_missing"),
    Case("another app's", revoking, (debugged(app_id="1"),), "GrantRejected other_app"),
    Case("not done", revoking, (debugged(), answer({"success": False})), "OutcomeUnknown http_200"),
)
