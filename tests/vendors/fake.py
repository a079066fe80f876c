"""What every fake vendor is: sockets, a ledger of what arrived, and answers that go wrong when a test says so."""

import json
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx

from integrations import contract
from integrations.endpoints import BUILT_IN
from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.sockets import Sockets

T = TypeVar("T")
Exchange: TypeAlias = tuple[httpx.Request, contract.Answer]


class Strange(Exception):
    """A request as the vendor has never documented one: no caller of ours may send it."""


class FakeVendor(ABC):
    """`async with FakeResend() as resend: …`. What it answers, its subclass says.

    Each of its hosts is a socket of its own, and the first segment of the path that is judged, so that what goes
    to a wrong one is found out. A test ends badly if a request was strange: see `strange`.
    """

    vendor: str

    def __init__(self) -> None:
        self.ledger: list[Request] = []
        self.strange: list[str] = []
        self._instead = deque[Answer | None]()
        self._sockets = Sockets({_host(url) for url in BUILT_IN[self.vendor].values() if url}, self._asked)

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Return what the vendor answers; its path begins with the host. Raises Strange."""

    @property
    def endpoints(self) -> dict[str, str]:
        """The endpoints that the vendor is built in with, here."""
        return {name: self._here(url) for name, url in BUILT_IN[self.vendor].items()}

    def instead(self, *answers: Answer | None) -> None:
        """Give the next requests these *answers*, which then have no other effect.

        None: all that a request does is done, and then the connection ends without an answer.
        """
        self._instead.extend(answers)

    def said(self, request: httpx.Request) -> contract.Answer:
        """Return what is answered to *request*, without a socket; it is addressed to the real vendor."""
        headers = [("user-agent", "tokenvault"), *request.headers.items()]  # which is added where it is sent
        path, query = f"/{request.url.host}{request.url.path}", request.url.query.decode()
        answer = self._judged(Request(request.method, path, query, headers, request.content))
        assert answer is not None
        headers_of_it = {name.lower(): value for name, value in answer.headers.items()}
        return contract.Answer(answer.status, headers_of_it, answer.body)

    async def __aenter__(self) -> Self:
        await self._sockets.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sockets.__aexit__(kind, error, trace)
        assert error or not self.strange, self.strange

    def _here(self, url: str) -> str:
        host = _host(url)
        return url.replace(f"https://{host}", self._sockets.urls[host]) if url else ""

    def _asked(self, host: str, request: Request) -> Answer | None:
        return self._judged(replace(request, path=f"/{host}{request.path}"))

    def _judged(self, request: Request) -> Answer | None:
        self.ledger.append(request)
        chosen = self._instead.popleft() if self._instead else request
        if isinstance(chosen, Answer):
            return chosen
        try:
            answer = self.answer(request)
        except Exception as error:  # a mistake of the fake is one of the test's, too
            self.strange.append(f"{request.method} {request.path}: {error!r}")
            answer = json_answer({"strange": True}, 400)
        return None if chosen is None else answer


def _host(url: str) -> str:
    return urlsplit(url).netloc


def header(request: Request, name: str) -> str | None:
    """Return the value of the header *name*, None where there is none. Raises Strange where there are several."""
    found = request.all(name)
    if len(found) > 1:
        raise Strange(f"{name} came {len(found)} times")
    return found[0] if found else None


def json_body(request: Request, names: set[str]) -> dict[str, Any]:
    """Return a JSON body of exactly these *names*, with no header that identifies anybody. Raises Strange."""
    if header(request, "content-type") != "application/json" or header(request, "authorization"):
        raise Strange("not JSON alone")
    body = json.loads(request.body)
    if body.keys() != names:
        raise Strange(f"a body of {sorted(body)}")
    return dict(body)


def bearer_of(request: Request) -> str:
    """Return the token of an Authorization header, which is all that there is. Raises Strange."""
    scheme, _, token = (header(request, "authorization") or "").partition(" ")
    if scheme != "Bearer" or request.body:
        raise Strange(f"authorization by {scheme}, and {len(request.body)} bytes")
    return token


def driven(steps: contract.Steps[T], fake: FakeVendor) -> tuple[T, list[Exchange]]:
    """Return what *steps* come to at *fake*, without a socket, and what was exchanged on the way."""
    exchanged = list[Exchange]()
    try:
        call = next(steps)
        while True:
            assert isinstance(call, httpx.Request)
            answer = fake.said(call)
            exchanged.append((call, answer))
            call = steps.send(answer)
    except StopIteration as done:
        return done.value, exchanged
