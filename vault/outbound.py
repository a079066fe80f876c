"""The one way out: every call to a provider goes through `Outbound.send`.

httpx over aiohttp's sockets: httpx's own pool slows down as its connections grow in number, to a
tenth at 64 at once. What must hold for a refresh, whose request may be sent once only:

- nothing is sent while this task has the database open, or after the moment it was to be sent by;
- nothing is sent twice: no retry, no redirect, and no connection that idled for over 2 s, on which
  a request can vanish so that nobody knows whether it arrived;
- one deadline for all of it, and at most 256 KiB of answer;
- the address is judged where it is really connected to, so that no name can lead us inside.
"""

import asyncio
import logging
import socket
import ssl
import zlib
from collections.abc import Coroutine
from contextvars import ContextVar
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from integrations.contract import Answer, Call, MailLogin, OutcomeUnknown, ProviderError, Transient
from vault.addresses import AddressRefused, is_public
from vault.clock import uptime
from vault.mail import signed_in
from vault.store.database import in_transaction

LONGEST_ANSWER = 256 * 1024  # bytes, after decoding
LONGEST_IDLE = 2.0  # seconds
OVERSLEPT = 0.25  # seconds past a deadline that say this process stood still
READING = 2.0  # seconds to read what had arrived meanwhile
# At INFO it logs each address with its query, and a few providers are asked by GET with all that is secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

_REFUSALS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError)


class _Sending:
    """One request on its way: whether it has left, and by when it must have."""

    def __init__(self, send_before: float) -> None:
        self.send_before = send_before
        self.left = False

    def leave(self) -> None:
        """Mark that the next byte goes out. Raises TooLate where it must not."""
        if self.left or uptime() >= self.send_before:
            raise TooLate
        self.left = True

    def failure(self, code: str) -> ProviderError:
        return OutcomeUnknown(code) if self.left else Transient(code)


class TooLate(OSError):
    """The request would go out after its time, or a second time."""


_sending: ContextVar[_Sending] = ContextVar("sending")


class _Connector(aiohttp.TCPConnector):
    """Hands out a connection only for a request that may still go out: the last step before its bytes."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - theirs
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            _sending.get().leave()
        except TooLate:
            connection.close()
            raise
        return connection


class _InProcess(httpx.ASGITransport):
    """Calls an application of this process; it leaves as soon as it is asked to."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _sending.get().leave()
        return await super().handle_async_request(request)


@cache
def trust() -> ssl.SSLContext:
    """Return how servers are trusted: reading the machine's certificates takes a while, and is done once."""
    return ssl.create_default_context()


class Outbound:
    """The shared client. *in_process* maps an origin to the application that answers there."""

    def __init__(self, *, allow_local: bool, in_process: dict[str, Any] | None = None) -> None:
        self._allow_local = allow_local
        context = trust()
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(verify=context, client=lambda: self._session(context)),
            mounts={origin: _InProcess(app=app) for origin, app in (in_process or {}).items()},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - `send` has one deadline for all of a call
        )

    async def send(self, call: Call, *, deadline: float) -> Answer:
        """Make *call* once and return its whole answer, both before *deadline* (monotonic seconds).

        Raises Transient where it never left, OutcomeUnknown where it left and no answer came.
        """
        if in_transaction():
            raise RuntimeError("a provider is called inside a database transaction")
        if isinstance(call, MailLogin):
            return await signed_in(call, trust(), deadline=deadline, allow_local=self._allow_local)
        return await self._sent(call, deadline)

    async def _sent(self, request: httpx.Request, deadline: float) -> Answer:
        sending = _Sending(deadline)
        token = _sending.set(sending)
        try:
            return await _by(deadline, self._whole(request))
        except TimeoutError:
            raise sending.failure("timeout") from None
        except _TooLong:
            raise OutcomeUnknown("answer_too_long") from None
        except _REFUSALS as error:
            raise sending.failure(_word(error)) from None
        finally:
            _sending.reset(token)

    async def close(self) -> None:
        await self._client.aclose()

    async def _whole(self, request: httpx.Request) -> Answer:
        request.headers["User-Agent"] = "tokenvault"
        request.headers["Accept-Encoding"] = "identity"
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LONGEST_ANSWER:
                    raise _TooLong
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, _decoded(bytes(body), headers.get("content-encoding", "")))

    def _session(self, context: ssl.SSLContext) -> aiohttp.ClientSession:
        connector = _Connector(
            ssl=context,
            limit=0,
            keepalive_timeout=LONGEST_IDLE,
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _name, where = address
        if not self._allow_local and not is_public(str(where[0])):
            raise AddressRefused("refused")
        return socket.socket(family=family, type=kind, proto=protocol)


async def _by(deadline: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what *work* gives before *deadline*. Raises TimeoutError.

    A process that stood still wakes up with its timer due and the answer in its socket, and that
    answer may be the only good token: then the answer gets a moment to be read.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=max(deadline - uptime(), 0))
        if not task.done() and uptime() > deadline + OVERSLEPT:
            await asyncio.wait({task}, timeout=READING)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise TimeoutError
    return task.result()


def _decoded(body: bytes, encoding: str) -> bytes:
    """Return *body* unpacked. We ask for none of it; a server that packs all the same may do it once.

    Never more than LONGEST_ANSWER comes out, however much is in it. Raises _TooLong, ValueError.
    """
    if encoding.strip().lower() in {"", "identity"}:
        return body
    if encoding.strip().lower() not in {"gzip", "deflate"}:
        raise ValueError("an encoding that was not asked for")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as its head says
    try:
        plain = unpacking.decompress(body, LONGEST_ANSWER + 1)
    except zlib.error:
        raise ValueError("not what its encoding says") from None
    if len(plain) > LONGEST_ANSWER:
        raise _TooLong
    return plain


class _TooLong(Exception):
    """The answer is longer than any honest one."""


def _word(error: BaseException) -> str:
    """Return our word for *error*. Its text may hold the address, and addresses may hold secrets."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefused):
            return "address_refused"
        if isinstance(seen, TooLate):
            return "too_late"
        if isinstance(seen, ssl.SSLError):
            return "tls_failed"
        if isinstance(seen, socket.gaierror):
            return "name_unknown"
        seen = seen.__cause__ or seen.__context__
    return "connection_failed"
