"""The one HTTP client, over real sockets: what it refuses to reach, what it sends once, and what it reads."""

import asyncio
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from integrations.contract import Answer, OutcomeUnknown, ProviderError, Transient
from tests.integration.conftest import Store
from tests.provider.client import FakeProvider
from vault.clock import uptime
from vault.outbound import LONGEST_ANSWER, LONGEST_IDLE, Outbound
from vault.store.database import Database

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Listener:
    """A server on this machine that counts connections and requests, and answers as it is told to."""

    def __init__(self, answers: bytes = OK, host: str = "127.0.0.1") -> None:
        self.answers, self.host = answers, host
        self.connections = 0
        self.heads: list[str] = []
        self.closes_after: int | None = None  # requests on one connection

    async def __aenter__(self) -> "Listener":
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/x"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        served = 0
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].partition(":")[2]) if length else 0)
                self.heads.append(head)
                served += 1
                if self.closes_after is not None and served > self.closes_after:
                    return
                writer.write(self.answers)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def client(*, allow_local: bool = True) -> AsyncIterator[Outbound]:
    outbound = Outbound(allow_local=allow_local)
    try:
        yield outbound
    finally:
        await outbound.close()


@pytest.fixture(name="outbound")
async def _outbound() -> AsyncIterator[Outbound]:
    async with client() as outbound:
        yield outbound


def get(url: str) -> httpx.Request:
    return httpx.Request("GET", url)


def post(url: str) -> httpx.Request:
    return httpx.Request("POST", url, content=b"grant_type=refresh_token&refresh_token=canary-rt")


async def send(outbound: Outbound, request: httpx.Request, seconds: float = 10.0) -> Answer:
    return await outbound.send(request, deadline=uptime() + seconds)


async def failure(outbound: Outbound, request: httpx.Request, seconds: float = 10.0) -> ProviderError:
    """Return the failure that *request* ends in, which says nothing of what was sent."""
    with pytest.raises(ProviderError) as caught:
        await send(outbound, request, seconds)
    shown = f"{caught.value} {caught.value!r} {caught.value.args}"
    assert "canary-" not in shown
    assert str(request.url) not in shown
    assert caught.value.__suppress_context__
    return caught.value


# ---- where it may go


LEADING_HERE = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0x7f.1",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::]",
    "%31%32%37.0.0.1",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", LEADING_HERE)
async def test_no_spelling_of_this_machine_is_connected_to(host: str, scheme: str) -> None:
    """However the address is written, and whatever a resolver makes of it: nothing arrives, nothing left."""
    async with Listener(host="localhost") as listener, client(allow_local=False) as outbound:
        try:
            request = post(f"{scheme}://{host}:{listener.port}/x")
        except httpx.InvalidURL:
            return  # not even an address
        error = await failure(outbound, request)

    assert type(error) is Transient
    assert error.code in {"address_refused", "name_unknown", "connection_failed"}
    assert listener.connections == 0


async def test_the_machines_own_name_is_judged_by_where_it_leads() -> None:
    """A name that resolves to this machine is no way in, whatever it is called."""
    name = socket.gethostname()
    async with Listener(host="") as listener, client(allow_local=False) as outbound:
        error = await failure(outbound, post(f"http://{name}:{listener.port}/x"))

    assert type(error) is Transient
    assert listener.connections == 0


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name resolve to each of *answers* in turn, the last one for ever; return the names asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [_info(address, port) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def _info(address: str, port: int) -> Any:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["::1", "127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1", "127.0.0.1"],
        ["fe80::1", "127.0.0.1"],
    ],
)
async def test_a_name_is_judged_by_all_the_addresses_it_leads_to(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """An ordinary name that leads inside is refused at the socket, with a word that says so."""
    async with Listener() as listener, client(allow_local=False) as outbound:
        asked = resolving(monkeypatch, addresses)
        error = await failure(outbound, post(f"http://id.example:{listener.port}/x"))

    assert asked
    assert type(error) is Transient
    assert error.code == "address_refused"
    assert listener.connections == 0


async def test_a_name_that_changes_its_mind_is_judged_where_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Public at the first look, this machine at the next (DNS rebinding): each connection is judged anew."""
    async with Listener() as listener, client(allow_local=False) as outbound:
        resolving(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
        for _ in range(3):
            await failure(outbound, post(f"http://id.example:{listener.port}/x"), 0.5)

    assert listener.connections == 0


async def test_local_providers_are_reached_where_they_are_allowed(outbound: Outbound) -> None:
    """The guard is what kept the others out."""
    async with Listener() as listener:
        assert (await send(outbound, post(listener.url))).status == 200

    assert listener.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(outbound: Outbound, status: int) -> None:
    """Wherever it points, within the provider or elsewhere."""
    async with Listener() as elsewhere:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        async with Listener(head.encode()) as listener:
            for request in (get(listener.url), post(listener.url)):
                answer = await send(outbound, request)
                assert (answer.status, answer.headers["location"]) == (status, elsewhere.url)

    assert len(listener.heads) == 2
    assert elsewhere.connections == 0


async def test_the_environment_sends_nothing_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Neither a proxy nor a .netrc of whoever started the process is used."""
    async with Listener() as proxy, Listener() as listener:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login canary- password canary-\n")
        monkeypatch.setenv("NETRC", str(netrc))
        async with client() as outbound:
            assert (await send(outbound, post(listener.url))).status == 200

    assert proxy.connections == 0
    assert len(listener.heads) == 1
    assert "authorization" not in listener.heads[0].lower()


async def test_no_cookie_is_kept(outbound: Outbound) -> None:
    """One tenant's visit leaves nothing for the next one's."""
    answers = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=canary-; Path=/\r\nContent-Length: 2\r\n\r\n{}"
    async with Listener(answers) as listener:
        for _ in range(3):
            # By name: cookie jars keep nothing of bare addresses.
            await send(outbound, get(f"http://localhost:{listener.port}/x"))

    assert len(listener.heads) == 3
    assert not any("cookie" in head.lower() for head in listener.heads)


async def test_a_request_says_little_about_us_and_asks_for_plain_bytes(outbound: Outbound) -> None:
    """A fixed name without versions, and no compression."""
    async with Listener() as listener:
        await send(outbound, post(listener.url))

    head = listener.heads[0].lower()
    assert "user-agent: tokenvault\r\n" in head
    assert "accept-encoding: identity\r\n" in head


# ---- what it reads


def body(content: bytes, *headers: str) -> bytes:
    lines = [f"Content-Length: {len(content)}", *headers]
    return "HTTP/1.1 200 OK\r\n{}\r\n\r\n".format("\r\n".join(lines)).encode() + content


async def test_an_answer_has_256_kib_at_most(outbound: Outbound) -> None:
    """One byte more is too long; the limit itself is read whole."""
    async with Listener(body(b"x" * LONGEST_ANSWER)) as listener:
        assert len((await send(outbound, post(listener.url))).body) == LONGEST_ANSWER
    async with Listener(body(b"x" * (LONGEST_ANSWER + 1))) as listener:
        error = await failure(outbound, post(listener.url))

    assert (type(error), error.code) == (OutcomeUnknown, "answer_too_long")


@pytest.mark.parametrize(
    "fault", [{"huge_body": 50_000_000}, {"gzip_bomb": 50_000_000}, {"huge_body": 10**6, "chunked": True}]
)
async def test_an_endless_answer_is_left_before_it_is_read(
    outbound: Outbound, provider: FakeProvider, fault: dict[str, Any]
) -> None:
    """Long, compressed or without an announced length: reading stops at the limit, and soon."""
    await provider.fault("me", **fault)
    started = uptime()

    error = await failure(outbound, get(provider.resource))

    assert (type(error), error.code) == (OutcomeUnknown, "answer_too_long")
    assert uptime() - started < 8
    assert (await provider.counts())["me_requests"] == 1


def bomb(layers: int, size: int) -> bytes:
    """Return *size* spaces, compressed *layers* times."""
    content = b" " * size
    for _ in range(layers):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        content = packer.compress(content) + packer.flush()
    return content


async def test_a_compressed_answer_is_never_unpacked_beyond_the_limit(outbound: Outbound) -> None:
    """A few KiB in two layers of gzip are 64 MB; what is held of them stays near the limit."""
    content = bomb(2, 64_000_000)
    assert len(content) < 4096
    async with Listener(body(content, "Content-Encoding: gzip, gzip")) as listener:
        tracemalloc.start()
        try:
            await failure(outbound, post(listener.url))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 20_000_000


async def test_one_deadline_counts_for_all_of_an_answer(outbound: Outbound, provider: FakeProvider) -> None:
    """A byte now and then keeps nobody waiting beyond it."""
    await provider.fault("me", slow_body=0.3)
    started = uptime()

    error = await failure(outbound, get(provider.resource), HUNG)

    assert (type(error), error.code) == (OutcomeUnknown, "timeout")
    assert HUNG - 0.1 < uptime() - started < 5


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_an_answer_that_is_compressed_unasked_is_read(outbound: Outbound, encoding: str) -> None:
    """Some servers do; a token in it is a token."""
    packed = {"gzip": bomb(1, 10), "deflate": zlib.compress(b" " * 10), "identity": b" " * 10}[encoding]
    async with Listener(body(packed, f"Content-Encoding: {encoding}")) as listener:
        assert (await send(outbound, post(listener.url))).body == b" " * 10


# ---- what left, and what did not


async def nobody() -> str:
    """Return an address of this machine where nobody listens."""
    async with Listener() as listener:
        return listener.url


async def test_what_never_left_may_be_sent_again(outbound: Outbound) -> None:
    """No listener, no such name, no TLS at the other end, no time left: Transient, each with its word."""
    assert (await failure(outbound, post(await nobody()))).code == "connection_failed"
    assert (await failure(outbound, post("http://no-such-name.invalid/x"))).code in {
        "name_unknown",
        "connection_failed",
    }
    async with Listener() as listener:
        tls = await failure(outbound, post(listener.url.replace("http:", "https:")), 2)
        late = await failure(outbound, post(listener.url), -1)
    assert {type(error) for error in (tls, late)} == {Transient}
    assert listener.heads == []


async def test_a_request_whose_time_has_come_is_not_sent_any_more(outbound: Outbound) -> None:
    """At the socket, not before it: a connection that took too long is closed without a byte."""
    async with Listener() as listener:
        error = await failure(outbound, post(listener.url), 0)

    assert type(error) is Transient
    assert error.code in {"too_late", "timeout"}
    assert listener.heads == []


HUNG = 1.5  # seconds: enough for a request to leave on a busy machine, for one that has not is another failure
CUT: list[tuple[Any, float]] = [
    ({"reset": "before"}, 10),
    ({"reset": "after"}, 10),
    ({"reset_after_bytes": 10}, 10),
    ({"reset_after_bytes": 120}, 10),
    ({"close_after_bytes": 0}, 10),
    ({"close_after_bytes": 10}, 10),
    ({"close_after_bytes": 120}, 10),
    ({"answer_raw": b"canary- this is no HTTP\r\n\r\n"}, 10),
    ({"answer_raw": b"HTTP/1.1 200 OK\r\nContent-Length: canary-\r\n\r\n"}, 10),
    ({"answer_raw": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}, 10),
    ({"hang": "before"}, HUNG),
    ({"hang": "after"}, HUNG),
    ({"latency": 30.0}, HUNG),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_left_without_a_usable_answer_is_of_unknown_outcome_and_is_not_sent_again(
    provider: FakeProvider, method: str
) -> None:
    """Cut before, amid or after the answer, garbled, silent: one request, on a fresh connection or a used one."""
    url, sent = provider.userinfo_endpoint, 0
    for fault, seconds in CUT:
        for used in (False, True):
            async with client() as outbound:
                if used:
                    await send(outbound, httpx.Request(method, url))
                    sent += 1
                await provider.fault("userinfo", **fault)
                error = await failure(outbound, httpx.Request(method, url), seconds)
                sent += 1

            assert type(error) is OutcomeUnknown, (fault, used, error.code)
            assert (await provider.counts())["userinfo_requests"] == sent, (fault, used)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_the_server_closes_under_a_request_causes_no_second_send(
    outbound: Outbound, method: str
) -> None:
    """HTTP clients resend what they think safe; to a provider that renews by GET, that is using a token twice."""
    async with Listener() as listener:
        listener.closes_after = 1
        request = httpx.Request(method, listener.url)
        await send(outbound, request)
        error = await failure(outbound, httpx.Request(method, listener.url))

    assert type(error) is OutcomeUnknown
    assert len(listener.heads) == 2  # the second arrived, and was read; nothing else did


async def test_a_connection_is_used_again_only_for_a_moment(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon after, the same connection; after two seconds idle, a new one: a request can vanish on the old."""
    async with Listener() as listener:
        await send(outbound, get(listener.url))
        await send(outbound, get(listener.url))
        assert listener.connections == 1
        await asyncio.sleep(LONGEST_IDLE + 0.2)  # the clock that this is about
        await send(outbound, get(listener.url))

    assert listener.connections == 2
    assert len(listener.heads) == 3


async def test_nothing_is_sent_while_the_database_is_open(outbound: Outbound, sqlite_store: Store) -> None:
    """Neither inside a transaction nor inside a read: a provider that hangs must not hold a lock."""
    database = Database(sqlite_store.url)
    async with Listener() as listener:
        for opened in (database.transaction, database.read):
            async with opened():
                with pytest.raises(RuntimeError):
                    await send(outbound, post(listener.url))
        assert (await send(outbound, post(listener.url))).status == 200
    await database.close()

    assert len(listener.heads) == 1


async def test_many_at_once_do_not_get_in_each_others_way(outbound: Outbound, provider: FakeProvider) -> None:
    """One that hangs holds up only itself."""
    await provider.fault("me", hang="after")
    hanging = asyncio.create_task(failure(outbound, get(provider.resource), 3))
    await provider.wait_for("hung", 1)

    answers = await asyncio.gather(*(send(outbound, get(provider.userinfo_endpoint)) for _ in range(64)))

    assert {answer.status for answer in answers} == {401}
    assert not hanging.done()
    assert type(await hanging) is OutcomeUnknown


async def test_an_answer_that_comes_late_to_a_caller_who_left_is_still_one_request(
    outbound: Outbound, provider: FakeProvider
) -> None:
    """Who gives up cancels the wait, and nothing is sent a second time."""
    await provider.hold("me")
    task = asyncio.create_task(send(outbound, get(provider.resource)))
    await provider.wait_for_held()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await provider.release()
    assert (await provider.counts())["me_requests"] == 1
