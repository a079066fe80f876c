"""A mail server that takes one mailbox's password, or tokens, over TLS and not otherwise; and sends nothing."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USERNAME, PASSWORD = "ann@mail.example", "correct horse battery"


@dataclass
class Mailbox:
    """What the server takes, how it is to fail, and the ledger of what was said to it."""

    port: int = 0
    password: str = PASSWORD
    access_token: str | None = None
    ended: set[str] = field(default_factory=set)  # where there are any, each other token is taken
    refusal: str | None = None  # in the place of what it would say to whoever signs in
    starttls: bool = True
    goodbye: Literal["221", "421", "nothing", "silence"] = "221"  # what is answered to QUIT: silence goes on
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN", "XOAUTH2")
    tries: list[str] = field(default_factory=list)  # the mechanism of each try to sign in


class _Protocol(SMTP):
    """The server's side of one session."""

    def __init__(self, mailbox: Mailbox, **options: Any) -> None:
        self._mailbox = mailbox
        left_out = {"PLAIN", "LOGIN"} - set(mailbox.mechanisms)
        super().__init__(_Nothing(), authenticator=self._judge, auth_exclude_mechanism=left_out, **options)
        if "XOAUTH2" not in mailbox.mechanisms:
            self._auth_methods.pop("XOAUTH2", None)

    async def handle_exception(self, error: Exception) -> str:
        raise error

    async def smtp_QUIT(self, argument: str) -> None:
        if self._mailbox.goodbye == "221":
            await super().smtp_QUIT(argument)
        elif self._mailbox.goodbye == "421":
            await self.push("421 4.3.2 Going down")
        elif self._mailbox.goodbye == "nothing":
            assert self.transport is not None
            self.transport.close()

    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult | None:
        """Judge `user={address}^Aauth=Bearer {token}^A^A`, in one line (Google's SASL XOAUTH2)."""
        self._mailbox.tries.append("XOAUTH2")
        user, auth, *rest = base64.b64decode(arguments[1], validate=True).decode().split("\x01")
        scheme, _, token = auth.partition(" ")
        if (user, scheme, rest) == (f"user={USERNAME}", "auth=Bearer", ["", ""]) and self._takes(token):
            return AuthResult(success=True)
        challenge = base64.b64encode(b'{"status":"401","schemes":"bearer mac"}').decode()
        await self.push(f"334 {challenge}")
        assert await self._reader.readline() == b"\r\n"
        await self.push("535 5.7.8 Username and Password not accepted")
        return AuthResult(success=False, handled=True)

    def _takes(self, token: str) -> bool:
        ended = self._mailbox.ended
        return token not in ended if ended else bool(token) and token == self._mailbox.access_token

    def _judge(self, _s: SMTP, _session: Session, _e: Envelope, mechanism: str, data: Any) -> AuthResult:
        self._mailbox.tries.append(mechanism)
        if self._mailbox.refusal is not None:
            return AuthResult(success=False, handled=False, message=self._mailbox.refusal)
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (USERNAME.encode(), self._mailbox.password.encode())
        return AuthResult(success=good, handled=False)


class _Nothing:
    """Takes no mail: whoever tries credentials has none to send."""

    async def handle_MAIL(self, *_: Any) -> str:
        raise AssertionError("a probe sends no mail")


@asynccontextmanager
async def mail_server(
    mailbox: Mailbox, tls: ssl.SSLContext, how: Literal["starttls", "implicit"] = "starttls"
) -> AsyncIterator[Mailbox]:
    """Serve *mailbox* on a port of the loopback."""
    loop = asyncio.get_running_loop()

    def session() -> _Protocol:
        # Over TLS from the start, the library does not know of it: what it would demand is there already.
        return _Protocol(
            mailbox,
            hostname="mail.example",
            loop=loop,
            tls_context=tls if how == "starttls" and mailbox.starttls else None,
            auth_require_tls=how == "starttls",
        )

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls if how == "implicit" else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
