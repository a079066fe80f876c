"""SMTP: what replies mean, and how one signs in on a real socket with real TLS."""

import asyncio
import base64
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import (
    Answer,
    MailLogin,
    Misused,
    ProviderError,
    Root,
    Secret,
    Transient,
    Unreadable,
)
from tests.authority import Authority
from tests.vendors.cases import Case, outcome
from tests.vendors.smtp import PASSWORD, USERNAME, Mailbox, mail_server
from tests.vendors.smtp_cases import CASES, FIELDS, SMTP
from vault.clock import uptime
from vault.mail import signed_in


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_a_reply_means(case: Case) -> None:
    """Refused is what the server says of the password; what is not about it may pass, like all that may pass."""
    assert outcome(case) == case.expected


@given(st.integers(200, 599), st.binary(max_size=40))
def test_every_reply_means_something(code: int, text: bytes) -> None:
    """Whatever a server answers there is a finding, or an error that is the provider's."""
    root = Root(kind="password", credentials=FIELDS)
    case = Case("", lambda: SMTP.probe(root, None), (Answer(code, body=text),), "")

    assert outcome(case).split()[0] in {"valid", "invalid", "Transient"}


@pytest.mark.parametrize(
    ("port", "tls", "asked"),
    [
        (None, None, (587, "starttls")),
        ("465", None, (465, "implicit")),
        (None, "implicit", (465, "implicit")),
        ("2465", "implicit", (2465, "implicit")),
        ("465", "starttls", (465, "starttls")),
    ],
)
def test_port_and_security_go_together(port: str | None, tls: str | None, asked: tuple[int, str]) -> None:
    """Who enters one of the two gets what usually goes with it (RFC 8314)."""
    entered = {name: Secret(value) for name, value in {"port": port, "tls": tls}.items() if value}
    login = next(SMTP.probe(Root(kind="password", credentials={**FIELDS, **entered}), None))

    assert isinstance(login, MailLogin)
    assert (login.port, login.tls) == asked
    assert "canary" not in repr(login)


def test_a_port_that_there_cannot_be_is_refused() -> None:
    """A number of five digits may be too large for one."""
    with pytest.raises(Unreadable):
        SMTP.entered("password", {**FIELDS, "port": Secret("65536")})


def test_a_fed_mailbox_is_handed_out_as_one_line_to_be_sent() -> None:
    """SASL XOAUTH2's initial response, as Google describes it."""
    given = SMTP.handout("xoauth2", {"username": Secret(USERNAME)}, Secret("canary-at")).credentials

    line = base64.b64decode(given["sasl_xoauth2"].reveal()).decode()
    assert line == f"user={USERNAME}\x01auth=Bearer canary-at\x01\x01"
    assert {name: one.reveal() for name, one in given.items() if name != "sasl_xoauth2"} == {
        "host": "smtp.gmail.com",
        "port": "587",
        "tls": "starttls",
        "username": USERNAME,
    }


async def tried(
    authority: Authority, mailbox: Mailbox, how: Literal["starttls", "implicit"] = "starttls", **login: Any
) -> Answer:
    """Sign in to *mailbox* on a socket, with its own password unless *login* says otherwise."""
    certified = str(login.pop("certified", "localhost"))
    allow_local = bool(login.pop("allow_local", True))
    async with mail_server(mailbox, authority.server(certified), how):
        fields: dict[str, Any] = {
            "host": "localhost",
            "port": mailbox.port,
            "tls": how,
            "username": USERNAME,
            **login,
        }
        if "access_token" not in fields:
            fields.setdefault("password", Secret(PASSWORD))
        return await signed_in(
            MailLogin(**fields),
            authority.trusted(),
            deadline=uptime() + 5,
            allow_local=allow_local,
        )


@pytest.mark.parametrize("how", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("mechanisms", "login", "status", "used"),
    [
        (("PLAIN", "LOGIN"), {}, 235, "PLAIN"),
        (("LOGIN",), {}, 235, "LOGIN"),
        (("PLAIN", "LOGIN"), {"password": Secret("wrong")}, 535, "PLAIN"),
        (("LOGIN",), {"password": Secret("wrong")}, 535, "LOGIN"),
        (("XOAUTH2", "PLAIN"), {"access_token": Secret("canary-at")}, 235, "XOAUTH2"),
        (("XOAUTH2", "PLAIN"), {"access_token": Secret("canary-old")}, 535, "XOAUTH2"),
    ],
)
async def test_there_is_one_try_with_one_mechanism(
    authority: Authority,
    how: Literal["starttls", "implicit"],
    mechanisms: tuple[str, ...],
    login: dict[str, Secret],
    status: int,
    used: str,
) -> None:
    """A wrong password counts once against the account, whatever else the server would take."""
    mailbox = Mailbox(mechanisms=mechanisms, access_token="canary-at")

    assert (await tried(authority, mailbox, how, **login)).status == status
    assert mailbox.tries == [used]


@pytest.mark.parametrize(
    ("mailbox", "login", "error", "code"),
    [
        (Mailbox(starttls=False), {}, Misused, "starttls_missing"),
        (Mailbox(mechanisms=()), {}, Misused, "auth_not_offered"),
        (Mailbox(mechanisms=("PLAIN",)), {"access_token": Secret("canary-at")}, Misused, "auth_not_offered"),
        (Mailbox(), {"certified": "other.example"}, Misused, "certificate_refused"),
        (Mailbox(), {"allow_local": False}, Misused, "address_refused"),
        (Mailbox(), {"host": "no-such-host.invalid"}, Transient, "name_unknown"),
    ],
)
async def test_no_password_goes_where_it_must_not(
    authority: Authority, mailbox: Mailbox, login: dict[str, Any], error: type[ProviderError], code: str
) -> None:
    """Without TLS, to another server than the one that was entered, or inside our network: nothing is said."""
    with pytest.raises(error) as caught:
        await tried(authority, mailbox, **login)

    assert caught.value.code == code
    assert mailbox.tries == []


async def test_a_server_that_says_nothing_is_not_waited_for(authority: Authority) -> None:
    """The deadline is one for all of it."""
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    login = MailLogin(host="localhost", port=port, tls="starttls", username=USERNAME, password=Secret(PASSWORD))
    began = uptime()
    try:
        with pytest.raises(Transient, match="timeout"):
            await signed_in(login, authority.trusted(), deadline=uptime() + 0.3, allow_local=True)
    finally:
        silent.close()
        for writer in writers:
            writer.close()

    assert uptime() - began < 3


@pytest.mark.parametrize("goodbye", ["421", "nothing", "silence"])
async def test_how_a_server_says_goodbye_is_nothing_about_the_password(
    authority: Authority, goodbye: Literal["421", "nothing", "silence"]
) -> None:
    """It was taken before: a connection that breaks afterwards takes nothing back."""
    assert (await tried(authority, Mailbox(goodbye=goodbye))).status == 235


async def test_a_server_that_is_not_there_may_come_back(authority: Authority) -> None:
    """Nothing answers at the port: nobody knows anything of the password."""
    async with mail_server(Mailbox(), authority.server("localhost")) as gone:
        pass
    login = MailLogin(
        host="localhost", port=gone.port, tls="starttls", username=USERNAME, password=Secret(PASSWORD)
    )

    with pytest.raises(Transient, match="connection_failed"):
        await signed_in(login, authority.trusted(), deadline=uptime() + 5, allow_local=True)
