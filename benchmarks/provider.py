"""A token endpoint that answers every refresh with new tokens, after a while: `python -m benchmarks.provider`.

It keeps nothing and checks next to nothing: it is there to cost as little as possible beside what is
measured. The client REFUSED is no client of its. Prints its port.
"""

import asyncio
import base64
import itertools
import json
import sys
from typing import cast

from benchmarks.filling import LIFETIME, REFUSED, TOKEN_BYTES

_numbers = itertools.count()
_HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_OF_THE_REFUSED = b"basic " + base64.b64encode(f"{REFUSED}:{REFUSED}".encode()).lower()


class TokenEndpoint(asyncio.Protocol):
    """One connection. Requests come one after the other, each with a Content-Length."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _length(bytes(head)):
            answer = refusal() if _OF_THE_REFUSED in head.lower() else new_tokens(next(_numbers))
            self._received.clear()
            asyncio.get_running_loop().call_later(self._latency, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def refusal() -> bytes:
    """Return what a client is told that is none."""
    return _whole(b"401 Unauthorized", {"error": "invalid_client"})


def new_tokens(number: int) -> bytes:
    """Return the whole answer with token set *number*."""
    tokens: dict[str, object] = {
        "access_token": f"{number:0{TOKEN_BYTES}x}",
        "token_type": "Bearer",
        "expires_in": int(LIFETIME.total_seconds()),
        "refresh_token": f"{number:064x}",
    }
    return _whole(b"200 OK", tokens)


def _whole(status: bytes, fields: dict[str, object]) -> bytes:
    body = json.dumps(fields).encode()
    return _HEAD % (status, len(body)) + body


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


async def listening(latency: float) -> asyncio.Server:
    """Return the server, on a free port of this machine."""
    return await asyncio.get_running_loop().create_server(lambda: TokenEndpoint(latency), "127.0.0.1", 0)


async def _serve(latency: float) -> None:
    server = await listening(latency)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(float(sys.argv[1])))
