"""One process, one socket: takes requests, lets faults have their way, writes the ledger, then answers."""

import asyncio
import gzip
import time
import traceback
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import h11

from tests.provider.config import Config
from tests.provider.control import Control
from tests.provider.faults import Effects, Faults, octets, same_tokens
from tests.provider.google import Google
from tests.provider.grants import Grants
from tests.provider.ledger import LedgerWriter, current_request
from tests.provider.oauth import OAuth
from tests.provider.tally import Hold, Tally
from tests.provider.wire import Answer, Request, Wire, json_answer

PATHS = {
    "/.well-known/oauth-authorization-server": "discovery",
    "/.well-known/openid-configuration": "discovery",
    "/authorize": "authorize",
    "/token": "token",
    "/device_authorization": "device_authorization",
    "/revoke": "revoke",
    "/userinfo": "userinfo",
    "/jwks": "jwks",
    "/tokeninfo": "tokeninfo",
    "/api/me": "me",
}


class Cut(Exception):
    """A fault ended this connection; its message is the reason in the ledger."""


@dataclass
class Visit:
    """One request to one endpoint, and what shall be done to it."""

    wire: Wire
    request: Request
    endpoint: str
    effects: Effects
    arrived_at: float


class Server:
    def __init__(self, config: Config, ledger: Path, *, fsync: bool = True) -> None:
        self.ledger = LedgerWriter(ledger, fsync=fsync)
        self.tally = Tally()
        self.hold = Hold(self.tally)
        self.faults = Faults()
        grants = Grants(config, self.ledger.record)
        self.oauth = Google(config, grants) if config.dialect == "google" else OAuth(config, grants)
        self.control = Control(config, grants, self.oauth, self.faults, self.hold, self.tally, self.ledger)
        self._connections = count(1)
        self._requests = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.oauth.issuer = f"http://127.0.0.1:{port}"
        return int(port)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ledger.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        wire = Wire(reader, writer, next(self._connections))
        try:
            await self._converse(wire)
        except (Cut, ConnectionError, h11.ProtocolError, asyncio.CancelledError):
            pass  # the ledger has the reason, where there was a request
        except Exception:
            traceback.print_exc()
        finally:
            wire.close()

    async def _converse(self, wire: Wire) -> None:
        while (request := await wire.read_head()) is not None:
            await self._one_request(wire, request)
            if not wire.next_cycle():
                return

    async def _one_request(self, wire: Wire, request: Request) -> None:
        endpoint = PATHS.get(request.path)
        if endpoint is not None:
            await self._visit(Visit(wire, request, endpoint, self.faults.pick(endpoint), time.time()))
            return
        await wire.read_body(request)
        is_control = request.path.startswith("/control/")
        answer = await self.control.answer(request) if is_control else json_answer({"error": "not found"}, 404)
        await wire.send(b"".join(wire.encode(answer)))

    async def _visit(self, visit: Visit) -> None:
        number = next(self._requests)
        current_request.set(number)
        self.tally.add(f"{visit.endpoint}_requests")
        try:
            answer = await self._process(visit)
            intact = await self._deliver(visit, answer)
        except (Cut, ConnectionError, asyncio.CancelledError) as error:
            self.ledger.record("undelivered", reason=str(error) or type(error).__name__)
            raise
        else:
            self.ledger.record("delivered", intact=intact)
            self.tally.add("delivered")
        finally:
            current_request.set(None)

    async def _process(self, visit: Visit) -> Answer:
        """All that happens to the provider's own state, and its durable record."""
        effects = visit.effects
        if effects.prevents_processing:
            visit.request.notes["outcome"] = "not_processed"
            self._record_request(visit)
        await self._before(visit)
        answer = effects.instead
        if answer is None:
            answer = self.oauth.answer(visit.endpoint, visit.request)
            self._record_request(visit)
        await self.ledger.durable()
        return answer

    async def _before(self, visit: Visit) -> None:
        effects = visit.effects
        if effects.reset == "before":
            self._reset(visit, "reset before reading")
        await visit.wire.read_body(visit.request)
        if effects.latency:
            await asyncio.sleep(effects.latency)
        if effects.hold == "before":
            await self.hold.wait()
        if effects.hang == "before":
            await self._hang()

    def _record_request(self, visit: Visit) -> None:
        self.ledger.record(
            "request",
            connection=visit.wire.number,
            endpoint=visit.endpoint,
            arrived_at=visit.arrived_at,
            faults=visit.effects.names(),
            **{"grant_type": None, "client_id": None, "family": None} | visit.request.notes,
        )

    async def _deliver(self, visit: Visit, answer: Answer) -> bool:
        """Get the answer out, or whatever the fault made of it; tells whether it went as it was."""
        effects = visit.effects
        if effects.latency_after:
            await asyncio.sleep(effects.latency_after)
        if effects.hold == "after":
            await self.hold.wait()
        if effects.hang == "after":
            await self._hang()
        if effects.reset == "after":
            self._reset(visit, "reset without an answer")
        if effects.answer_raw is not None:
            await visit.wire.send(octets(effects.answer_raw))
            raise Cut("raw bytes instead of an answer")
        reshaped = await self._reshape(effects, answer)
        await self._write(visit, reshaped)
        # Nobody can be asked to read on through a huge body to the tokens at its end.
        return not effects.huge_body and not effects.gzip_bomb and same_tokens(reshaped, answer)

    async def _reshape(self, effects: Effects, answer: Answer) -> Answer:
        reshaped = effects.reshape(answer)
        if effects.gzip_bomb:
            bomb = b" " * effects.gzip_bomb + reshaped.body
            reshaped.body = await asyncio.to_thread(gzip.compress, bomb)
            reshaped.headers["Content-Encoding"] = "gzip"
        return reshaped

    async def _write(self, visit: Visit, answer: Answer) -> None:
        effects, wire = visit.effects, visit.wire
        head, body = wire.encode(answer, chunked=effects.chunked)
        if effects.reset_after_bytes is not None:
            await wire.send((head + body)[: effects.reset_after_bytes])
            self._reset(visit, "reset amid the answer")
        if effects.close_after_bytes is not None:
            await wire.send((head + body)[: effects.close_after_bytes])
            raise Cut("closed amid the answer")
        if effects.slow_body:
            await self._write_slowly(wire, head, body, effects.slow_body)
        else:
            await wire.send(head + body)

    async def _write_slowly(self, wire: Wire, head: bytes, body: bytes, seconds: float) -> None:
        await wire.send(head)
        for position in range(len(body)):
            await asyncio.sleep(seconds)
            await wire.send(body[position : position + 1])

    def _reset(self, visit: Visit, reason: str) -> None:
        visit.wire.reset()
        raise Cut(reason)

    async def _hang(self) -> None:
        """Until the test is over."""
        await self.ledger.durable()
        self.tally.add("hung")
        await asyncio.Event().wait()
