"""The calls of Twilio's works, and the fake's table of them, held against Twilio's OpenAPI files."""

from functools import partial

import httpx
import pytest

from integrations.contract import Answer
from tests.unit.test_twilio_works import Scene, api_key, auth_token, trunk
from tests.vendors.specs import Described, described
from tests.vendors.twilio_trunking import TRUNKING_CALLS

FILES = {
    "api": "twilio/twilio_api_v2010.json",
    "accounts": "twilio/twilio_accounts_v1.json",
    "iam": "twilio/twilio_iam_v1.json",
    "trunking": "twilio/twilio_trunking_v1.json",
}
PASSES = frozenset({200, 201, 204})  # refusals are not described


def of(host: str) -> Described | None:
    return described(FILES[host])


@pytest.mark.parametrize("name", TRUNKING_CALLS)
def test_the_fakes_table_of_works_is_that_of_the_descriptions(name: str) -> None:
    """Each call is one of Twilio's, and takes nothing that Twilio's does not."""
    known = TRUNKING_CALLS[name]
    theirs = of(known.host)
    if theirs is None:
        return

    assert (known.method, known.path) in theirs.operations()
    assert known.query | set(known.form or ()) <= theirs.accepted(known.method, known.path)


def scenes() -> list[Scene]:
    """Return works that between them make every call: some cut short before, some with what was there."""
    fresh, forgotten, there = trunk(), api_key("messages", sort="Restricted"), trunk("repair")
    forgotten.stored.pending = {"key_name": forgotten.stored.credentials["account_sid"]}
    there.trunking.a_trunk(
        "Office", "office.pstn.twilio.com", there.trunking.a_list("theirs", pbx="canary-Them-123")
    )
    unknown = auth_token()
    unknown.stored.pending = {"secondary_requested": unknown.stored.credentials["account_sid"]}
    unknown.account.secondary = "canary-unknown"
    return [fresh, forgotten, there, unknown, api_key()]


def held(scene: Scene, request: httpx.Request) -> Answer:
    """Return what the fake says to *request*, both of which are as Twilio describes them."""
    answer, theirs = scene.answer(request), of(request.url.host.partition(".")[0])
    if theirs is not None:
        theirs.check(request)
        if answer.status in PASSES:
            theirs.check_answer(request, answer)
    return answer


def test_every_request_and_every_answer_of_works_is_as_described() -> None:
    """All that is sent to rotate, set up and repair, and all that the fake says to it."""
    made = set[str | None]()
    for scene in scenes():
        assert scene.driver(answer=partial(held, scene)).run().verdict == "valid"
        made |= {line.call for line in scene.fake.ledger}

        assert scene.fake.misfits == []
    assert made >= set(TRUNKING_CALLS)
