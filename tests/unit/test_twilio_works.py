"""Twilio's rotations and trunks, cut at every step: whatever is lost on the way, no secret and no trunk is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from integrations.contract import Answer, Finding, Misused, ProviderError, Root, Secret, Unreadable
from integrations.endpoints import TWILIO
from integrations.twilio.provider import Twilio
from integrations.twilio.trunk import handout
from tests.provider.wire import Request
from tests.vendors.cutting import Died, Driver, Fate, Stored, every_cut
from tests.vendors.twilio import HOSTS
from tests.vendors.twilio import Twilio as FakeTwilio
from tests.vendors.twilio_accounts import Account, Sort
from tests.vendors.twilio_trunking import Trunking

PROVIDER = Twilio(TWILIO)
NAME, DOMAIN = "Office", "office.pstn.twilio.com"


def _fake() -> FakeTwilio:
    made = FakeTwilio()
    # Without its sockets: a request is handed to it as it is.
    made._sockets.urls.update({host: f"https://{host}.twilio.com" for host in HOSTS})
    return made


@dataclass
class Scene:
    """A fake Twilio with one account, and what is stored of a connection to it."""

    kind: str
    ability: str
    entered: Mapping[str, str] = field(default_factory=dict)
    fake: FakeTwilio = field(default_factory=_fake)

    def __post_init__(self) -> None:
        self.trunking = Trunking(self.fake)
        self.account: Account = self.fake.an_account()
        own = {"account_sid": self.account.sid, "auth_token": self.account.auth_token, **self.entered}
        self.stored = Stored(self.kind, {name: Secret(value) for name, value in own.items()})

    def answer(self, request: httpx.Request) -> Answer:
        parts = urlsplit(str(request.url))
        headers = [(name.decode().lower(), value.decode()) for name, value in request.headers.raw]
        asked = Request(request.method, parts.path, parts.query, headers, request.content)
        answer = self.fake._answer((parts.hostname or "").partition(".")[0], asked)
        assert answer is not None
        return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.body)

    def driver(self, after: Callable[[], None] = lambda: None, **changed: Any) -> Driver:
        usual: dict[str, Any] = {"work": lambda root: PROVIDER.work(self.ability, root), "answer": self.answer}
        return Driver(stored=self.stored, after=after, **{**usual, **changed})

    def done(self) -> Finding:
        """Do it without any cut."""
        found = self.driver().run()
        assert self.fake.misfits == []
        return found

    def known(self) -> set[str]:
        """Return every secret that is stored."""
        return {value.reveal() for value in (*self.stored.credentials.values(), *self.stored.pending.values())}


def steps_of(make: Callable[[], Scene]) -> int:
    driver = make().driver()
    driver.run()
    return driver.steps


# ---- the Auth Token


def auth_token() -> Scene:
    return Scene("auth_token", "rotate")


def test_an_auth_token_is_rotated() -> None:
    """The secondary one is promoted, ours from then on, and nothing of the work is left."""
    scene = auth_token()
    former = scene.account.auth_token

    assert scene.done() == Finding(verdict="valid")

    assert scene.stored.value("auth_token") == scene.account.auth_token != former
    assert (scene.stored.pending, scene.account.secondary) == ({}, None)


def test_no_auth_token_is_lost_wherever_a_rotation_is_cut() -> None:
    """At every step, once and twice: the token that works is stored, and in the end it is the one in use."""
    tried = 0
    for cuts in every_cut(steps_of(auth_token)):
        scene = auth_token()

        def well(scene: Scene = scene) -> None:
            assert scene.account.auth_token in scene.known(), "the token in force is unknown to us"

        driver = scene.driver(well, cuts=cuts)
        found = driver.until_done()

        assert found.verdict == "valid", (cuts, found)
        assert scene.stored.value("auth_token") == scene.account.auth_token, cuts
        assert scene.stored.value("auth_token") not in scene.trunking.over, cuts
        assert (scene.stored.pending, scene.account.secondary, scene.fake.misfits) == ({}, None, []), cuts
        tried += 1
    assert tried > 200


def test_a_secondary_token_of_somebody_else_is_left_alone() -> None:
    """A person may be rotating by hand: theirs is not deleted, and they are told."""
    scene = auth_token()
    scene.account.secondary = "canary-theirs"

    assert scene.done() == Finding(verdict="limited", code="secondary_exists", lacks=("rotate",))

    assert (scene.account.secondary, scene.stored.pending) == ("canary-theirs", {})


def test_what_a_person_did_meanwhile_is_seen() -> None:
    """Ours deleted in the console: another one is made. Ours promoted in the console: it is taken into use."""
    deleted = auth_token()
    deleted.stored.pending = {"secondary_auth_token": Secret("canary-gone")}
    assert deleted.done().verdict == "valid"
    assert deleted.stored.value("auth_token") == deleted.account.auth_token

    promoted = auth_token()
    promoted.stored.pending = {"secondary_auth_token": Secret("canary-new")}
    promoted.account.auth_token = "canary-new"
    assert promoted.done().verdict == "valid"
    assert promoted.stored.value("auth_token") == "canary-new"


def test_where_no_token_works_nothing_that_is_kept_is_given_up() -> None:
    """Nobody concludes from a suspended account, or a token replaced by hand, that what is kept is no good."""
    for trouble in ("suspended", "replaced"):
        scene = auth_token()
        scene.stored.pending = {"secondary_auth_token": Secret("canary-kept")}
        if trouble == "suspended":
            scene.account.status = "suspended"
        else:
            scene.account.auth_token = "canary-another"

        with pytest.raises(ProviderError):
            scene.driver().run()

        assert scene.stored.pending == {"secondary_auth_token": Secret("canary-kept")}, trouble


# ---- the API key


def api_key(*allowed: str, sort: Sort = "Standard") -> Scene:
    scene = Scene("api_key", "rotate")
    key = scene.account.a_key(sort, *allowed)
    scene.account.a_key("Main")  # somebody else's
    scene.stored.credentials |= {"api_key_sid": Secret(key.sid), "api_key_secret": Secret(key.secret)}
    return scene


@pytest.mark.parametrize("sort", ["Standard", "Restricted"])
def test_an_api_key_is_rotated(sort: Sort) -> None:
    """One like it is taken into use, by its name, and the former one is deleted."""
    scene = api_key("messages", sort=sort)
    former = scene.stored.value("api_key_sid")

    assert scene.done() == Finding(verdict="valid")

    made = scene.account.keys[scene.stored.value("api_key_sid") or ""]
    assert (made.secret, made.sort) == (scene.stored.value("api_key_secret"), sort)
    assert former not in scene.account.keys
    assert scene.trunking.names[made.sid].startswith("Billing (vault ")
    assert scene.trunking.policies.get(made.sid) == (
        '{"allow": ["/twilio/messaging/messages/read"]}' if sort == "Restricted" else None
    )


def test_no_api_key_is_lost_or_left_behind_wherever_a_rotation_is_cut() -> None:
    """At every step: the key in use works, and in the end there is one, as there was before."""
    for cuts in every_cut(steps_of(api_key)):
        scene = api_key()

        def well(scene: Scene = scene) -> None:
            key = scene.account.keys.get(scene.stored.value("api_key_sid") or "")
            assert key is not None, "the key in use is deleted"
            assert key.secret == scene.stored.value("api_key_secret")

        found = scene.driver(well, cuts=cuts).until_done()

        assert found.verdict == "valid", (cuts, found)
        assert (len(scene.account.keys), scene.stored.pending, scene.fake.misfits) == (2, {}, []), cuts
        well()


def test_a_key_whose_secret_is_kept_is_taken_into_use() -> None:
    """Whoever dies right after it was made and kept leaves it behind for the next one: no other is made."""
    for number in range(steps_of(api_key)):
        scene = api_key()
        with pytest.raises(Died):
            scene.driver(cuts={number: "dies"}).run()
        if "api_key_sid" in scene.stored.pending:
            made = scene.stored.pending["api_key_sid"].reveal()
            assert scene.done().verdict == "valid"
            assert (scene.stored.value("api_key_sid"), scene.fake.count("new_key")) == (made, 1)
            return
    pytest.fail("it is never kept")


def test_a_key_that_cannot_be_rotated_says_why() -> None:
    """No key makes another one; and what a person alone can make is not replaced by something less."""
    without = api_key()
    del without.stored.credentials["auth_token"]
    assert without.done() == Finding(verdict="limited", code="rotation_needs_auth_token", lacks=("rotate",))

    main = api_key(sort="Main")
    assert main.done() == Finding(verdict="limited", code="main_key", lacks=("rotate",))
    assert (len(main.account.keys), main.stored.pending) == (2, {})


def test_a_name_stays_as_it_was_however_often_its_key_is_rotated() -> None:
    """The mark by which ours is found takes the place of the former mark, in 64 characters."""
    scene = api_key()
    scene.trunking.names[scene.stored.value("api_key_sid") or ""] = "n" * 64
    for _ in range(3):
        scene.done()
    name = scene.trunking.names[scene.stored.value("api_key_sid") or ""]
    assert (len(name), name.count("(vault "), name[:40]) == (64, 1, "n" * 40)


# ---- the trunk


def trunk(ability: str = "set_up", **entered: str) -> Scene:
    return Scene("sip_trunk", ability, entered or {"friendly_name": NAME})


def handed_out(scene: Scene) -> dict[str, str]:
    return {k: v.reveal() for k, v in handout(scene.stored.credentials).credentials.items()}


def gets_through(scene: Scene) -> bool:
    given = handed_out(scene)
    return scene.trunking.takes(given["termination_uri"], given["username"], given["password"])


def test_a_trunk_is_made_with_all_that_it_takes_to_call() -> None:
    """What is handed out gets through; and once more nothing is made."""
    scene = trunk()

    assert scene.done() == Finding(verdict="valid")

    assert (len(scene.trunking.trunks), len(scene.trunking.lists)) == (1, 1)
    assert gets_through(scene)
    assert set(handed_out(scene)) == {"username", "password", "termination_uri"}
    assert handed_out(scene)["termination_uri"].startswith("office-")
    before = len(scene.fake.ledger)
    assert scene.done() == Finding(verdict="valid")
    asked = {line.call for line in scene.fake.ledger[before:]}
    assert asked == {"trunks", "attached", "logins"}


@pytest.mark.parametrize(
    "entered", [{"friendly_name": NAME}, {"domain_name": DOMAIN}, {"friendly_name": NAME, "username": "pbx"}]
)
def test_never_two_trunks_nor_a_lost_password_wherever_a_set_up_is_cut(entered: dict[str, str]) -> None:
    """At every step: one trunk at most, and no password at Twilio that is not stored with us."""

    def made() -> Scene:
        scene = trunk(**entered)
        scene.trunking.a_trunk("another", "another.pstn.twilio.com")
        scene.trunking.a_trunk("a third", None)
        return scene

    for cuts in every_cut(steps_of(made), pairs=len(entered) == 1):
        scene = made()

        def well(scene: Scene = scene) -> None:
            assert len(scene.trunking.trunks) <= 3, "a second trunk"
            at_twilio = {pair for one in scene.trunking.lists.values() for pair in one.logins.values()}
            assert {password for _, password in at_twilio} <= scene.known(), "a password that we do not know"

        found = scene.driver(well, cuts=cuts).until_done()

        assert found.verdict == "valid", (cuts, found)
        assert gets_through(scene), cuts
        assert (len(scene.trunking.trunks), "done" in scene.stored.pending, scene.fake.misfits) == (3, True, [])
        assert sum(len(one.logins) for one in scene.trunking.lists.values()) == 1, cuts


@pytest.mark.parametrize("ability", ["set_up", "repair"])
def test_what_is_entered_anew_amid_a_set_up_takes_it_over(ability: str) -> None:
    """Wherever the former one was cut: one trunk, one login, and the password that was kept is the one it has."""
    for number in range(steps_of(trunk)):
        scene = trunk()
        entered = dict(scene.stored.credentials)
        with pytest.raises(Died):
            scene.driver(cuts={number: "dies"}).run()
        kept = scene.stored.pending.get("password")
        scene.stored.credentials = entered
        scene.ability = ability

        assert scene.done() == Finding(verdict="valid"), number

        assert gets_through(scene), number
        assert kept in {None, scene.stored.credentials["password"]}, number
        assert (len(scene.trunking.trunks), len(scene.trunking.lists)) == (1, 1), number


def test_a_password_that_was_chosen_for_one_username_is_not_set_for_another() -> None:
    """A set-up was cut, and then a username entered that is there: whoever calls with that goes on doing so."""
    scene = trunk(friendly_name=NAME, username="pbx")
    logins = scene.trunking.a_list("theirs", pbx="canary-Theirs-12345")
    scene.trunking.a_trunk(NAME, DOMAIN, logins)
    scene.stored.pending = {
        "trunk": Secret(NAME),
        "username": Secret("vault-0123456789ab"),
        "password": Secret("canary-Chosen-12345"),
    }

    assert scene.done() == Finding(verdict="limited", code="password_unknown", lacks=("call",))

    assert list(logins.logins.values()) == [("pbx", "canary-Theirs-12345")]
    assert "password" not in handed_out(scene)


def test_an_existing_trunk_is_read_and_not_made_again() -> None:
    """Its domain and its username are told; its password nobody knows until it is entered, or repaired."""
    scene = trunk(username="")
    del scene.stored.credentials["username"]
    scene.stored.credentials["friendly_name"] = Secret(NAME)
    logins = scene.trunking.a_list("theirs", pbx="canary-Theirs-12345")
    scene.trunking.a_trunk(NAME, DOMAIN, logins)
    for number in range(4):  # it is on none of the first pages
        scene.trunking.trunks.insert(0, scene.trunking.a_trunk(f"other {number}"))
        del scene.trunking.trunks[-1]

    assert scene.done() == Finding(verdict="limited", code="password_unknown", lacks=("call",))
    assert handed_out(scene) == {"username": "pbx", "termination_uri": DOMAIN}
    made = [line.call for line in scene.fake.ledger if (line.call or "").startswith(("new_", "change_", "attach"))]
    assert made == ["attached"]

    scene.ability = "repair"
    assert scene.done() == Finding(verdict="valid")
    assert gets_through(scene)
    assert handed_out(scene)["username"] == "pbx"


def broken() -> Scene:
    """Return a trunk to be repaired: nobody here knows its password."""
    scene = trunk("repair")
    scene.trunking.a_trunk(NAME, DOMAIN, scene.trunking.a_list("theirs", pbx="canary-Theirs-12345"))
    return scene


def test_what_a_repair_left_undone_a_set_up_finishes() -> None:
    """A new password was kept, and maybe sent: it is not handed out before it is certain that it was."""
    known = 0
    for number in range(steps_of(broken)):
        scene = broken()
        with pytest.raises(Died):
            scene.driver(cuts={number: "dies"}).run()
        scene.ability = "set_up"

        scene.done()

        if "password" in handed_out(scene):
            known += 1
            assert gets_through(scene), number
    assert known >= 2


def test_no_password_is_lost_wherever_a_repair_is_cut() -> None:
    """Whether the new one was sent or not: what is kept is sent again."""

    for cuts in every_cut(steps_of(broken)):
        scene = broken()

        def well(scene: Scene = scene) -> None:
            (password,) = {pair[1] for one in scene.trunking.lists.values() for pair in one.logins.values()}
            assert password in scene.known() | {"canary-Theirs-12345"}, "a password that we do not know"

        assert scene.driver(well, cuts=cuts).until_done().verdict == "valid", cuts
        assert gets_through(scene), cuts


def test_an_entered_password_is_taken_at_its_word() -> None:
    """Where the username is there it is served as it is; where it is not, it is made with it."""
    for there in (True, False):
        scene = trunk(domain_name=DOMAIN, username="pbx", password="canary-Mine-12345")
        logins = scene.trunking.a_list("theirs", **({"pbx": "canary-Mine-12345"} if there else {}))
        scene.trunking.a_trunk(NAME, DOMAIN, logins)

        assert scene.done() == Finding(verdict="valid")

        assert gets_through(scene), there
        assert handed_out(scene)["password"] == "canary-Mine-12345"


def test_of_two_trunks_of_one_name_a_person_says_which() -> None:
    """Without a domain nothing is done; with one the right trunk is taken, in letters of any case."""
    scene = trunk()
    for domain in ("one.pstn.twilio.com", "two.pstn.twilio.com"):
        scene.trunking.a_trunk(NAME, domain)
    assert scene.done() == Finding(verdict="limited", code="trunk_ambiguous", lacks=("call",))
    assert scene.stored.pending == {}

    scene.stored.credentials["domain_name"] = Secret("TWO.pstn.twilio.com")
    assert scene.done().verdict == "valid"
    assert handed_out(scene)["termination_uri"] == "two.pstn.twilio.com"


def test_a_trunk_without_a_domain_cannot_be_called_through() -> None:
    """Which it shall have, a person decides at Twilio."""
    scene = trunk()
    scene.trunking.a_trunk(NAME)

    assert scene.done() == Finding(verdict="limited", code="trunk_without_domain", lacks=("call",))
    assert scene.trunking.lists == {}


def test_an_association_that_is_refused_though_it_is_there_is_one() -> None:
    """Somebody was quicker: after a refusal the lists of the trunk are read again."""
    scene = trunk(domain_name=DOMAIN)
    made = scene.trunking.a_trunk(NAME, DOMAIN)
    answer = scene.answer

    def quicker(request: httpx.Request) -> Answer:
        if (
            request.method == "POST"
            and request.url.path.endswith("/CredentialLists")
            and "Trunks" in request.url.path
        ):
            made.lists.append(next(iter(scene.trunking.lists)))
        return answer(request)

    assert scene.driver(answer=quicker).run() == Finding(verdict="valid")
    assert (gets_through(scene), len(made.lists)) == (True, 1)


def test_what_was_chosen_for_one_trunk_is_not_another_ones() -> None:
    """A set-up was cut, and then another name entered: the first one's domain is not taken for it."""
    scene = trunk()
    scene.stored.pending = {"trunk": Secret("Home"), "domain_name": Secret("home-1.pstn.twilio.com")}
    scene.trunking.a_trunk("Home", "home-1.pstn.twilio.com")

    assert scene.done().verdict == "valid"

    assert [one.friendly_name for one in scene.trunking.trunks] == ["Home", NAME]


@pytest.mark.parametrize(("kind", "ability"), [("sip_trunk", "set_up"), ("api_key", "rotate")])
def test_the_next_page_is_never_at_another_host(kind: str, ability: str) -> None:
    """There, our credentials would be somebody else's."""
    scene = trunk() if kind == "sip_trunk" else api_key()
    scene.trunking.foreign_pages = True
    for number in range(3):
        scene.trunking.a_trunk(f"other {number}")
    scene.stored.pending = {"key_name": Secret("x")} if kind == "api_key" else {}
    asked: list[str] = []
    answer = scene.answer

    def noted(request: httpx.Request) -> Answer:
        asked.append(request.url.host)
        return answer(request)

    scene.trunking.page = 1

    with pytest.raises(Misused, match="foreign_next_page"):
        scene.driver(answer=noted).run()

    assert {host.removesuffix(".twilio.com") for host in asked} <= set(HOSTS)


def test_a_trunk_is_looked_at_without_changing_anything() -> None:
    """Whether it is there, which of several it is, and whether its password is known."""
    scene = trunk()

    def look() -> str | None:
        found = scene.driver(work=lambda root: PROVIDER.probe(root, None)).run()
        assert scene.fake.count("new_trunk") == 0
        return found.code if found.verdict == "limited" else found.verdict

    assert look() == "trunk_missing"
    scene.trunking.a_trunk(NAME, DOMAIN)
    assert look() == "password_unknown"
    scene.stored.credentials["password"] = Secret("canary-Mine-12345")
    assert look() == "valid"
    scene.trunking.a_trunk(NAME)
    assert look() == "trunk_ambiguous"


@pytest.mark.parametrize(
    ("entered", "code"),
    [
        ({"friendly_name": NAME}, "auth_token_or_api_key_missing"),
        ({"friendly_name": NAME, "api_key_sid": "SK" + "a" * 32}, "auth_token_or_api_key_missing"),
        ({"auth_token": "canary-token"}, "friendly_name_or_domain_name_missing"),
    ],
)
def test_what_a_trunk_needs_to_be_found_is_wanted(entered: dict[str, str], code: str) -> None:
    """As whom to ask, and for which."""
    with pytest.raises(Unreadable, match=code):
        PROVIDER.entered("sip_trunk", {name: Secret(value) for name, value in entered.items()})


def test_only_the_abilities_of_a_kind_are_work() -> None:
    """An Auth Token is not repaired, and an OAuth app is not rotated by us."""
    own = {"account_sid": Secret("AC" + "0" * 32), "auth_token": Secret("canary"), "friendly_name": Secret(NAME)}
    for kind in PROVIDER.kinds:
        root = Root(
            kind=kind.id, credentials=own | {"api_key_sid": Secret("SK"), "api_key_secret": Secret("canary")}
        )
        able = {one for one in ("rotate", "repair", "set_up", "fly") if PROVIDER.work(one, root) is not None}
        assert able == set(kind.abilities) - {"client_tokens", "send_from", "call"}


def test_a_fate_of_each_sort_was_met() -> None:
    """The cuts are all that there can be: of one step, and of one and a later one."""
    cuts = list(every_cut(3))
    fates: set[Fate] = {fate for cut in cuts for fate in cut.values()}
    assert fates == {"dies", "answer_lost", "never_left"}
    assert len(cuts) == 3 * 3 * (1 + 2 * 3)
