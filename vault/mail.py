"""Signing in to a mail server, to find out whether one can: nothing is ever sent (RFC 4954, RFC 8314).

aiosmtplib speaks; what it would do by itself and must not is decided here: the address is judged where it is
connected to, no password goes out without TLS, and there is one try, with one mechanism. The library's own
`login` tries one after the other, and each of them is a failed login to whoever counts those.
"""

import asyncio
import contextlib
import socket
import ssl

import aiosmtplib

from integrations.contract import Answer, MailLogin, Misused, ProviderError, Transient
from vault.addresses import AddressRefused, is_public
from vault.clock import uptime

STEP = 10.0  # seconds for one command and its reply
GOODBYE = 1.0  # seconds for the last one


async def signed_in(login: MailLogin, tls: ssl.SSLContext, *, deadline: float, allow_local: bool) -> Answer:
    """Return the reply to the last command of a session that signs in as *login* says, by *deadline*.

    Raises Transient where there was none, Misused where the server cannot do what was entered for it.
    """
    try:
        async with asyncio.timeout(deadline - uptime()):
            return await _session(login, tls, allow_local=allow_local)
    except TimeoutError:
        raise Transient("timeout") from None
    except aiosmtplib.SMTPResponseException as refusal:
        return Answer(refusal.code, body=refusal.message.encode())
    except ssl.SSLCertVerificationError:
        raise Misused("certificate_refused") from None
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _problem(error) from None


async def _session(login: MailLogin, tls: ssl.SSLContext, *, allow_local: bool) -> Answer:
    client = aiosmtplib.SMTP(
        hostname=login.host,  # whom the certificate has to be of
        sock=await _connected(login, allow_local=allow_local),
        use_tls=login.tls == "implicit",
        start_tls=False,  # as it would be done where the server offers it, and left out where it does not
        tls_context=tls,
        timeout=STEP,
    )
    try:
        await client.connect()
        if login.tls == "starttls":
            await _secured(client)
        reply = await _authenticated(client, login)
        # What was asked is answered by now: many a server hangs up without a word of goodbye.
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=GOODBYE)
        return Answer(reply.code, body=reply.message.encode())
    finally:
        client.close()


async def _secured(client: aiosmtplib.SMTP) -> None:
    await client.ehlo()
    if not client.supports_extension("starttls"):
        raise Misused("starttls_missing")  # or somebody on the way has taken it out
    await client.starttls()


async def _authenticated(client: aiosmtplib.SMTP, login: MailLogin) -> aiosmtplib.SMTPResponse:
    assert client.get_transport_info("sslcontext") is not None, "a password never goes out without TLS"
    await client.ehlo()  # what was said before TLS may have been said by anybody
    offered = {mechanism.casefold() for mechanism in client.server_auth_methods}
    if login.access_token is not None:
        if "xoauth2" not in offered:
            raise Misused("auth_not_offered")
        return await client.auth_xoauth2(login.username, login.access_token.reveal())
    password = login.password.reveal() if login.password else ""
    if "plain" in offered:
        return await client.auth_plain(login.username, password)
    if "login" in offered:
        return await client.auth_login(login.username, password)
    raise Misused("auth_not_offered")


async def _connected(login: MailLogin, *, allow_local: bool) -> socket.socket:
    """Return a socket to the first address of the host that one may have, and that answers."""
    loop, problem = asyncio.get_running_loop(), OSError("no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        login.host, login.port, type=socket.SOCK_STREAM
    ):
        if not allow_local and not is_public(str(address[0])):
            raise AddressRefused("refused")
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
            return connection
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
    raise problem


def _problem(error: BaseException) -> ProviderError:
    """Return what came of a session without a reply. Its text may hold what was sent."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return Misused("certificate_refused")
        if isinstance(seen, AddressRefused):
            return Misused("address_refused")
        if isinstance(seen, socket.gaierror):
            return Transient("name_unknown")
        if isinstance(seen, ssl.SSLError):
            return Transient("tls_failed")
        seen = seen.__cause__ or seen.__context__
    return Transient("connection_failed")
