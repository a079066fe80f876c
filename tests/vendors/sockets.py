"""HTTP on sockets of this process: one a host, each request answered by a function."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import h11

from tests.provider.wire import Answer, Request, Wire

Answering = Callable[[str, Request], Answer | None]  # None: the connection is reset without an answer


class Sockets:
    """`async with Sockets(["api", "oauth"], answer) as sockets: sockets.urls["api"]`"""

    def __init__(self, hosts: Iterable[str], answer: Answering) -> None:
        self.urls: dict[str, str] = {}
        self._hosts = hosts
        self._answer = answer
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for host in self._hosts:
            server = await asyncio.start_server(self._accepting(host), "127.0.0.1", 0)
            self._servers.append(server)
            self.urls[host] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepting(self, host: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._converse(host, Wire(reader, writer, 0)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _converse(self, host: str, wire: Wire) -> None:
        with contextlib.closing(wire), contextlib.suppress(ConnectionError, h11.ProtocolError):
            while (request := await wire.read_head()) is not None:
                await wire.read_body(request)
                answer = self._answer(host, request)
                if answer is None:
                    wire.reset()
                    return
                await wire.send(b"".join(wire.encode(answer)))
                if not wire.next_cycle():
                    return
