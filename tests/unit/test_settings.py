"""Every setting from the environment, and everything that is wrong with it in one go."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Leaks
from vault.settings import BadSettings, Settings, is_loopback

SECRET = "canary-" + "s" * 32
GOOD = {"ENCRYPTION_SECRET": SECRET}
EXAMPLE = Path(__file__).parents[2] / ".env.example"


def read(**environ: str) -> Settings:
    return Settings.from_env({**GOOD, **environ})


def problems(**environ: str) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        read(**environ)
    return caught.value.problems


class Asked(Mapping[str, str]):
    """An environment that has nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def known_names() -> set[str]:
    """Return the name of every setting that the program reads."""
    asked = Asked()
    with pytest.raises(BadSettings):
        Settings.from_env(asked)
    return {name for name in asked.names if f"{name}_FILE" in asked.names}


def test_a_secret_is_all_that_is_needed() -> None:
    """Everything else has a default that works on one machine."""
    settings = read()

    assert settings.encryption_secret.reveal() == SECRET
    assert settings.on_sqlite
    assert settings.public_url == "http://127.0.0.1:8000"
    assert not settings.secure
    assert not settings.allow_local_providers
    assert not settings.sandbox
    assert (settings.sweep_interval, settings.provider_timeout, settings.lease) == (5, 20, 60)


def test_the_secret_is_not_in_the_settings_text(leaks: Leaks) -> None:
    """Settings can be printed."""
    leaks.check(repr(read()))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Whoever starts it wrongly does not have to find out one mistake at a time."""
    found = problems(
        ENCRYPTION_SECRET="short",
        DATABASE_URL="mysql://x",
        PUBLIC_URL="not an address",
        TOKENVAULT_LEASE_SECONDS="soon",
        TOKENVAULT_SANDBOX="maybe",
        TOKENVAULT_LOG_LEVEL="LOUD",
        TOKENVAULT_LEESE_SECONDS="60",
        TOKENVAULT_SWEEP_INTERVAL_SECONDS="-1",
    )

    for name in (
        "ENCRYPTION_SECRET",
        "DATABASE_URL",
        "PUBLIC_URL",
        "TOKENVAULT_LEASE_SECONDS",
        "TOKENVAULT_SANDBOX",
        "TOKENVAULT_LOG_LEVEL",
        "TOKENVAULT_LEESE_SECONDS",
        "TOKENVAULT_SWEEP_INTERVAL_SECONDS",
    ):
        assert [name for problem in found if problem.startswith(f"{name} ")] == [name], found
    assert len(found) == 8


def test_no_problem_repeats_a_value(leaks: Leaks) -> None:
    """A value in the wrong place may be a secret: only names are said."""
    names = known_names()
    for problem in problems(**dict.fromkeys(names, "canary-x"), TOKENVAULT_ODD="canary-x"):
        leaks.check(problem)


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    """NAME_FILE names a file with the value; the line break at its end is no part of it."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")

    assert Settings.from_env({"ENCRYPTION_SECRET_FILE": str(file)}).encryption_secret.reveal() == SECRET


@pytest.mark.parametrize("name", sorted(known_names()))
def test_every_setting_may_come_from_a_file_and_not_from_both(name: str, tmp_path: Path) -> None:
    """Each setting has its NAME_FILE; both set is a contradiction, a file that cannot be read a problem."""
    file = tmp_path / "value"
    file.write_text("x")

    assert any("both set" in each for each in problems(**{name: "x" * 32, f"{name}_FILE": str(file)}))
    assert any(f"{name}_FILE cannot be read" in each for each in problems(**_missing(name, tmp_path)))


def _missing(name: str, folder: Path) -> dict[str, str]:
    without = {name: ""} if name in GOOD else {}
    return {**without, f"{name}_FILE": str(folder / "missing")}


def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    """A file of arbitrary bytes is not taken for a secret."""
    file = tmp_path / "secret"
    file.write_bytes(b"\xff" * 64)

    assert "ENCRYPTION_SECRET_FILE cannot be read" in problems(
        ENCRYPTION_SECRET="", ENCRYPTION_SECRET_FILE=str(file)
    )


def test_an_unknown_name_of_ours_is_an_error_and_others_are_not() -> None:
    """A misspelt setting is not ignored; other programs' variables are none of our business."""
    assert problems(TOKENVAULT_ALLOW_LOCAL_PROVIDER="true") == [
        "TOKENVAULT_ALLOW_LOCAL_PROVIDER is no setting of this version"
    ]
    read(PATH="/bin", LEASE_SECONDS="x")


@pytest.mark.parametrize(
    ("lease", "timeout", "accepted"),
    [("60", "20", True), ("30", "20", True), ("29.9", "20", False), ("20", "20", False), ("10.1", "0.1", True)],
)
def test_a_lease_outlives_the_provider_call_by_ten_seconds(lease: str, timeout: str, *, accepted: bool) -> None:
    """With a shorter one, two processes could send one refresh token."""
    environ = {"TOKENVAULT_LEASE_SECONDS": lease, "TOKENVAULT_PROVIDER_TIMEOUT_SECONDS": timeout}
    if accepted:
        assert read(**environ).lease == float(lease)
    else:
        assert len(problems(**environ)) == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "", " ", "0x10", "1,5", "1e"])
def test_a_number_is_a_number_in_its_range(value: str) -> None:
    """What is no finite number in the range is refused; an empty value counts as not set."""
    if value:
        assert problems(TOKENVAULT_PROVIDER_TIMEOUT_SECONDS=value)
    else:
        assert read(TOKENVAULT_PROVIDER_TIMEOUT_SECONDS=value).provider_timeout == 20


@pytest.mark.parametrize(
    ("raw", "value"), [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("false", False), ("0", False)]
)
def test_a_flag_has_few_spellings(raw: str, *, value: bool) -> None:
    """True and false in the usual spellings, and nothing that could be meant either way."""
    assert read(TOKENVAULT_ALLOW_LOCAL_PROVIDERS=raw).allow_local_providers is value
    assert problems(TOKENVAULT_ALLOW_LOCAL_PROVIDERS=raw + "?")


@pytest.mark.parametrize(
    "url",
    [
        "https://vault.example",
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "https://[2606:4700::1]",
    ],
)
def test_the_sandbox_is_refused_where_others_could_reach_it(url: str) -> None:
    """It gives tokens to anybody: only on a loopback address."""
    assert problems(TOKENVAULT_SANDBOX="true", PUBLIC_URL=url) == [
        "TOKENVAULT_SANDBOX is refused unless PUBLIC_URL is a loopback address"
    ]
    assert not is_loopback(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "https://[::1]:8443"])
def test_the_sandbox_runs_on_loopback(url: str) -> None:
    """This machine's own addresses are fine."""
    assert read(TOKENVAULT_SANDBOX="true", PUBLIC_URL=url).sandbox


@pytest.mark.parametrize(
    "url",
    [
        "vault.example",
        "ftp://x",
        "https://",
        "https://x?y=z",
        "https://x#y",
        "https://u@x",
        "https://x:0",
        "https://[",
    ],
)
def test_the_public_address_is_an_http_address(url: str) -> None:
    """Redirect addresses are made from it: no query, no fragment, nobody's name."""
    assert len(problems(PUBLIC_URL=url)) == 1


def test_the_public_address_loses_its_last_slash() -> None:
    """Paths are appended to it."""
    assert read(PUBLIC_URL="https://vault.example/base/").public_url == "https://vault.example/base"
    assert read(PUBLIC_URL="https://vault.example/").secure


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:///x", "postgresql://x", "x", "sqlite+aiosqlite://"])
def test_the_database_is_one_of_two_kinds(url: str) -> None:
    """Other drivers are not what this was proven with."""
    assert len(problems(DATABASE_URL=url)) == 1


@given(st.dictionaries(st.sampled_from(sorted(known_names())), st.text(max_size=20)))
def test_any_environment_gives_settings_or_problems(environ: dict[str, str]) -> None:
    """Whatever the values, the answer is settings or BadSettings with a sentence each."""
    found = ["NONE "]
    try:
        Settings.from_env(environ)
    except BadSettings as error:
        found = error.problems
    assert found
    assert all(re.match(r"[A-Z][A-Z_]+ ", problem) for problem in found)


def test_the_example_lists_every_setting_and_no_other() -> None:
    """`.env.example` is held to the code: a setting that is missing there is not documented."""
    listed = re.findall(r"^(?:#\s*)?([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(), re.MULTILINE)

    assert len(set(listed)) == len(listed)
    assert {name for name in listed if not name.endswith("_FILE")} == known_names()


def test_the_endpoints_of_built_in_providers_can_be_moved() -> None:
    """Each has a setting; what is not set is left to the vendor."""
    moved = read(TOKENVAULT_GOOGLE_TOKEN_ENDPOINT="https://proxy.example/token").endpoints

    assert {name: where for name, where in moved.items() if where} == {
        "google": {"token_endpoint": "https://proxy.example/token"}
    }
    assert not any(read().endpoints.values())


@pytest.mark.parametrize(
    ("url", "at_home"),
    [
        ("http://127.0.0.1:9000/token", True),
        ("https://10.0.0.1/token", True),
        ("ftp://proxy.example", False),
        ("https://user@proxy.example", False),
        ("canary-x", False),
    ],
)
def test_a_moved_endpoint_is_an_address_on_the_internet(url: str, *, at_home: bool) -> None:
    """Tokens are sent there: https and public, but for development."""
    sentence = "TOKENVAULT_GOOGLE_TOKEN_ENDPOINT must be an https address on the internet"
    assert problems(TOKENVAULT_GOOGLE_TOKEN_ENDPOINT=url) == [sentence]
    home = {"TOKENVAULT_GOOGLE_TOKEN_ENDPOINT": url, "TOKENVAULT_ALLOW_LOCAL_PROVIDERS": "true"}
    if at_home:
        assert read(**home).endpoints["google"]["token_endpoint"] == url
    else:
        assert problems(**home) == [sentence]
