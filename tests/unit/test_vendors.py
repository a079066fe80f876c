"""All built-in providers alike: what the catalogue says of them for a form, and what is said of refusals."""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import get_args

import pytest

from integrations.advice import ADVICE
from integrations.builtin import ADAPTERS, providers
from integrations.contract import Field, Finding, Kind, Renewal, Secret
from tests import vendors
from tests.vendors.cases import Case, found_in
from vault.entering.masking import masked

PROVIDERS = providers({})
KINDS = [pytest.param(kind, id=f"{one.id}-{kind.id}") for one in PROVIDERS.values() for kind in one.kinds]
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# The parts of a name that say that it is nobody else's to see.
SECRETS = frozenset({"key", "secret", "token", "password", "pin", "code", "json"})
ABILITIES = {
    *("rotate", "repair", "set_up", "client_tokens", "device"),  # to be asked for
    *("read", "send_from", "businesses", "call", "manage_account", "send_messages"),  # at the provider
}
# What browsers refuse in a class of characters, but for ranges and what is escaped (ECMAScript, the `v` flag).
CLASS = re.compile(r"\[\^?((?:\\.|[^\]\\])*)\]")
REFUSED_IN_CLASS = re.compile(r"[()\[{}/|]|^-|-$|([&!#$%*+,.:;<=>?@^`~])\1")
# Classes and verdicts after which a person has to act; what else there is passes, or is a bug of ours.
TO_ACT_ON = frozenset({"GrantRejected", "ClientRejected", "invalid", "limited"})


def tables() -> Iterator[tuple[str, tuple[Case, ...]]]:
    """Give what each vendor's answers mean, by the provider's id."""
    for module in iter_modules(vendors.__path__):
        if module.name.endswith("_cases"):
            yield module.name.removesuffix("_cases"), import_module(f"tests.vendors.{module.name}").CASES


def every_field() -> Iterator[tuple[str, Field]]:
    for provider in PROVIDERS.values():
        for kind in provider.kinds:
            yield from ((f"{provider.id} {kind.id}", one) for one in kind.fields)
        yield from ((provider.id, one) for one in provider.client_settings)


def test_at_least_120_answers_have_a_meaning_in_the_tables() -> None:
    """Of each vendor some, no two by one name; they are gone through beside that vendor's own tests."""
    cases = dict(tables())

    assert cases.keys() == PROVIDERS.keys() - {"google"}  # whose table is in its own tests
    assert sum(len({case.what for case in table}) for table in cases.values()) >= 120


@pytest.mark.parametrize("kind", KINDS)
def test_a_form_can_be_drawn_of_a_kind(kind: Kind) -> None:
    """Its words are known ones, and its fields have names of their own; what is connected has none."""
    names = [field.name for field in kind.fields]

    assert kind.label
    assert kind.how in {"consent", "enter"}
    assert kind.renewal in get_args(Renewal)
    assert set(kind.abilities) <= ABILITIES
    assert len(set(names)) == len(names)
    assert bool(names) == (kind.how == "enter")


def test_kinds_have_names_of_their_own() -> None:
    """A kind is chosen by its id."""
    for provider in PROVIDERS.values():
        ids = [kind.id for kind in provider.kinds]
        assert len(set(ids)) == len(ids)
        assert provider.name


def test_every_field_says_what_it_is_and_where_to_find_it() -> None:
    """A label and a help for people, a name for programs."""
    for where, field in every_field():
        assert NAME.fullmatch(field.name), (where, field)
        assert field.label, (where, field)
        assert field.help, (where, field)


def test_patterns_are_of_the_whole_and_browsers_read_them() -> None:
    """No anchors of their own, which forms add; and a class of characters as the strictest of engines wants it."""
    for where, field in every_field():
        if field.pattern is None:
            continue
        assert re.compile(field.pattern).flags == re.UNICODE, (where, field)
        assert not field.pattern.startswith("^"), (where, field)
        assert not field.pattern.endswith("$"), (where, field)
        assert not re.fullmatch(field.pattern, "canary\nsecond line"), (where, field)
        assert "(?" not in field.pattern, (where, field)
        for inside in CLASS.findall(field.pattern):
            assert not REFUSED_IN_CLASS.search(re.sub(r"\\.", "x", inside)), (where, field)


@pytest.mark.parametrize("pattern", ["[a-z|]", "[a-z-]", "[-a]", "[(a]", "[a..]", "[a/b]"])
def test_a_class_that_browsers_refuse_is_seen(pattern: str) -> None:
    """What Python takes, and what a browser's form would leave unchecked without a word."""
    (inside,) = CLASS.findall(pattern)

    assert re.compile(pattern)
    assert REFUSED_IN_CLASS.search(inside)


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_shown(kind: Kind) -> None:
    """Whatever is called a key, a token or a password is masked; ids and settings are shown whole."""
    value = "canary-0123456789-0123456789"
    shown = masked(kind, {field.name: Secret(value) for field in kind.fields})
    secrets = {field.name for field in kind.fields if field.name.rpartition("_")[2] in SECRETS}

    assert {name for name, one in shown.items() if one != value} == secrets


def test_whoever_has_to_act_is_told_how() -> None:
    """Every code after which a person has to do something has a sentence; a dead token is renewed by the vault."""
    said = [case.expected.split() for _, table in tables() for case in table]
    codes = {words[1] for words in said if words[0] in TO_ACT_ON and len(words) > 1}

    assert codes - ADVICE.keys() == {"token_dead"}


def test_no_code_has_two_meanings() -> None:
    """Advice is looked up by the code alone: no adapter's sentence may stand in another's place."""
    said = [code for adapter in ADAPTERS.values() for code in adapter.advice]

    assert len(said) == len(set(said))


def test_what_credentials_lack_is_in_the_catalogue() -> None:
    """A word that a provider's kinds have among their abilities: whoever reads it can know what else there is."""
    for provider, table in tables():
        known = {ability for kind in PROVIDERS[provider].kinds for ability in kind.abilities}
        for case in table:
            assert set(lacks(case)) <= known, case.what


def lacks(case: Case) -> tuple[str, ...]:
    """Return the abilities that a case's credentials turn out not to have."""
    found = found_in(case) if case.expected.startswith("limited") else None
    return found.lacks if isinstance(found, Finding) else ()
