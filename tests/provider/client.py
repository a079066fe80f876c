"""What a test holds: starts the provider's process, tells it what to do, reads its ledger, ends it."""

import asyncio
import base64
import http.client
import json
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import urlencode

from tests.forks import FORKS
from tests.provider.config import CLIENT_ID, CLIENT_SECRET
from tests.provider.faults import When
from tests.provider.oracle import Ledger
from tests.provider.orders import ConsentOrder, FaultOrder, Grant, MintOrder, Settings
from tests.provider.process import Start, main

CONTROL_SECONDS = 30.0


class FakeProvider:
    """`async with FakeProvider(tmp_path / "ledger.jsonl", rotation="grace") as provider: …`"""

    client_id = CLIENT_ID
    client_secret = CLIENT_SECRET

    def __init__(self, ledger: Path, *, port: int = 0, fsync: bool = True, **settings: Unpack[Settings]) -> None:
        self.ledger_path = ledger
        self.port = port
        self._fsync = fsync
        self._settings = settings
        self._process: BaseProcess | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def authorization_endpoint(self) -> str:
        return f"{self.issuer}/authorize"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/token"

    @property
    def device_authorization_endpoint(self) -> str:
        return f"{self.issuer}/device_authorization"

    @property
    def revocation_endpoint(self) -> str:
        return f"{self.issuer}/revoke"

    @property
    def userinfo_endpoint(self) -> str:
        return f"{self.issuer}/userinfo"

    @property
    def endpoints(self) -> dict[str, str]:
        """All of them, by the names that the vault's settings have for Google's."""
        return {
            "authorization_endpoint": self.authorization_endpoint,
            "token_endpoint": self.token_endpoint,
            "revocation_endpoint": self.revocation_endpoint,
            "userinfo_endpoint": self.userinfo_endpoint,
            "jwks_uri": f"{self.issuer}/jwks",
            "tokeninfo_endpoint": f"{self.issuer}/tokeninfo",
        }

    @property
    def resource(self) -> str:
        """Something that takes an access token: 200 while it lives, then 401."""
        return f"{self.issuer}/api/me"

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Fork the provider and wait until it listens; RuntimeError where it ends instead."""
        mine, its = FORKS.Pipe(duplex=False)
        start = Start(self.ledger_path.absolute(), self.port, self._fsync, dict(self._settings))
        self._process = FORKS.Process(target=main, args=(start, its), daemon=True)
        self._process.start()
        its.close()
        with mine:
            try:
                self.port = await asyncio.to_thread(mine.recv)
            except EOFError:
                raise RuntimeError(f"the fake provider did not start: exit {await self.stop()}") from None

    async def stop(self) -> int | None:
        """End the process we started and wait for it; its ledger stays. Tells its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        await asyncio.to_thread(process.join)
        code = process.exitcode
        process.close()
        return code

    async def configure(self, **settings: Unpack[Settings]) -> dict[str, Any]:
        """Change settings from now on; tells all of them."""
        return dict(await self._post("config", settings))

    async def fault(self, endpoint: str = "token", **order: Unpack[FaultOrder]) -> None:
        """
        Let something go wrong: once, or `times=n`, or `times=None` until cleared.

        At most one counted fault hits a request, the oldest; lasting ones hit besides.
        """
        await self._post("fault", {"endpoint": endpoint, **{k: _wire(v) for k, v in order.items()}})

    async def clear_faults(self) -> None:
        """Forget all faults and release what is held."""
        await self._post("clear-faults", {})

    async def hold(self, endpoint: str = "token", *, times: int | None = 1, when: When = "after") -> None:
        """Process the next requests but keep their answers until `release`."""
        await self._post("fault", {"endpoint": endpoint, "times": times, "hold": when})

    async def release(self, count: int | None = None) -> int:
        """Let held requests go on, the oldest first; tells how many did."""
        return int((await self._post("release", {"count": count}))["released"])

    async def consent(self, **order: Unpack[ConsentOrder]) -> None:
        """Say how the next authorization request is answered, once."""
        await self._post("consent", order)

    async def decide_device(self, user_code: str, *, approved: bool = True, subject: str | None = None) -> None:
        """Let the person at the other screen say yes or no."""
        await self._post("device", {"user_code": user_code, "approved": approved, "subject": subject})

    async def mint(self, **order: Unpack[MintOrder]) -> Grant:
        return (await self.mint_many(1, **order))[0]

    async def mint_many(self, count: int, **order: Unpack[MintOrder]) -> list[Grant]:
        """Many grants at once; "{n}" in the subject becomes 1 … count."""
        answer = await self._post("mint", {"count": count, **order})
        return [Grant(**grant) for grant in answer["grants"]]

    async def revoke_family(self, family: str, reason: str = "the person withdrew it") -> None:
        await self._post("revoke-family", {"family": family, "reason": reason})

    async def kill_access(self, access_token: str) -> None:
        """Make one access token dead before its time; the grant lives on."""
        await self._post("kill-access", {"access_token": access_token})

    async def counts(self) -> dict[str, int]:
        """What arrived so far: "token_requests", "userinfo_requests", …, "held", "hung", "delivered"."""
        return dict(await self._post("counts", {}))

    async def wait_for(self, what: str, number: int, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return once that count (see `counts`) has reached the number; TimeoutError otherwise."""
        query = urlencode({what: number, "timeout": timeout})
        await self._call("GET", f"wait?{query}", None, timeout + CONTROL_SECONDS)

    async def wait_for_token_requests(self, number: int, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return once so many requests in all have arrived at the token endpoint."""
        await self.wait_for("token_requests", number, timeout)

    async def wait_for_held(self, number: int = 1, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Return once so many requests are being held: processed, if they are held after."""
        await self.wait_for("held", number, timeout)

    async def ledger(self) -> Ledger:
        """All that happened until now; works after `stop` too."""
        if self._process is not None:
            await self._post("sync", {})
        return await asyncio.to_thread(Ledger.read, self.ledger_path)

    async def _post(self, name: str, payload: Any) -> Any:
        return await self._call("POST", name, json.dumps(payload), CONTROL_SECONDS)

    async def _call(self, method: str, name: str, body: str | None, seconds: float) -> Any:
        status, payload = await asyncio.to_thread(self._exchange, method, name, body, seconds)
        if status == 408:
            raise TimeoutError(f"{name}: {payload['counts']}")
        if status != 200:
            raise ValueError(f"{name}: {payload}")
        return payload

    def _exchange(self, method: str, name: str, body: str | None, seconds: float) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, f"/control/{name}", body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def _wire(value: Any) -> Any:
    """Arbitrary bytes do not go through JSON."""
    return {"$base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
