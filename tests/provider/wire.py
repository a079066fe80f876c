"""One connection, byte by byte: h11 says what the bytes mean, we decide which of them to send."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11

BODY_LIMIT = 1 << 20


class Repeated(Exception):
    """A parameter was sent twice; RFC 6749 section 3.1 forbids it."""


@dataclass
class Request:
    """A request; *notes* gathers what its line in the ledger shall say."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    notes: dict[str, Any] = field(default_factory=dict)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def params(self) -> dict[str, str]:
        return parameters(self.query)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def json_answer(payload: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": "application/json"} | named, json.dumps(payload).encode())


def parameters(encoded: str) -> dict[str, str]:
    """Form parameters, each once; one without a value counts as not sent (RFC 6749 section 3.1)."""
    pairs = parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded))
    if len({name for name, _ in pairs}) != len(pairs):
        raise Repeated
    return {name: value for name, value in pairs if value}


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER)
        # drain() shall mean that the kernel has every byte, so that "delivered" is true.
        writer.transport.set_write_buffer_limits(high=0)

    async def read_head(self) -> Request | None:
        """The next request without its body; None when the client has gone."""
        event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        target = urlsplit(event.target.decode("ascii"))
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
        return Request(event.method.decode("ascii"), target.path, target.query, headers)

    async def read_body(self, request: Request) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            self._writer.write(self._encode(h11.InformationalResponse(status_code=100, headers=[])))
        parts = []
        while isinstance(event := await self._event(), h11.Data):
            parts.append(bytes(event.data))
            if sum(map(len, parts)) > BODY_LIMIT:
                raise h11.RemoteProtocolError("body too large")
        request.body = b"".join(parts)

    async def _event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self._reader.read(1 << 16))
        return event

    def encode(self, answer: Answer, *, chunked: bool = False) -> tuple[bytes, bytes]:
        """Head and body as they would go over the wire, so that a fault can cut them anywhere."""
        headers = dict(answer.headers)
        if not chunked:
            headers["Content-Length"] = str(len(answer.body))
        head = self._encode(h11.Response(status_code=answer.status, headers=list(headers.items())))
        return head, self._encode(h11.Data(data=answer.body)) + self._encode(h11.EndOfMessage())

    def _encode(self, event: Any) -> bytes:
        return self._h11.send(event) or b""

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel has all of it; raises when the client has gone."""
        if self._reader.at_eof():
            raise ConnectionResetError("the client had gone")
        self._writer.write(data)
        await self._writer.drain()

    def next_cycle(self) -> bool:
        """Make ready for another request; False if this connection is at its end."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    def reset(self) -> None:
        """Close with RST rather than FIN: the client sees ECONNRESET."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()
