"""The control API: how a test tells the provider what to be, and learns what arrived."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.provider.config import BadControl, Config
from tests.provider.faults import Faults
from tests.provider.grants import Grants
from tests.provider.ledger import LedgerWriter
from tests.provider.oauth import OAuth
from tests.provider.tally import Hold, Tally
from tests.provider.wire import Answer, Request, json_answer

Call = dict[str, Any]


@dataclass
class Control:
    config: Config
    grants: Grants
    oauth: OAuth
    faults: Faults
    hold: Hold
    tally: Tally
    ledger: LedgerWriter

    async def answer(self, request: Request) -> Answer:
        """Run one call; what it changed is in the ledger's file before it answers."""
        try:
            payload = await self._run(request)
        except (BadControl, KeyError, ValueError) as error:
            return json_answer({"error": f"{type(error).__name__}: {error}"}, 400)
        except TimeoutError:
            return json_answer({"error": "timeout", "counts": self.tally.counts}, 408)
        await self.ledger.durable()
        return json_answer(payload)

    async def _run(self, request: Request) -> Any:
        name = request.path.removeprefix("/control/")
        if request.method == "GET" and name == "wait":
            return await self._wait(request.params())
        if request.method == "GET" and name == "ledger":
            return await self._ledger()
        calls = self._calls()
        if name not in calls:
            raise BadControl(f"no such control call: {request.method} {name}")
        return calls[name](json.loads(request.body or b"{}"))

    def _calls(self) -> dict[str, Callable[[Call], Any]]:
        return {
            "config": self._configure,
            "fault": self._fault,
            "clear-faults": self._clear,
            "release": lambda call: {"released": self.hold.release(call.get("count"))},
            "mint": self._mint,
            "consent": self._consent,
            "device": self._device,
            "revoke-family": self._revoke_family,
            "kill-access": lambda call: self.grants.kill_access(call["access_token"]),
            "sync": lambda _: {},
            "counts": lambda _: self.tally.counts,
        }

    def _configure(self, call: Call) -> Any:
        self.config.update(call)
        return dataclasses.asdict(self.config)

    def _fault(self, call: Call) -> None:
        self.faults.add(call)

    def _clear(self, _: Call) -> Any:
        self.faults.clear()
        return {"released": self.hold.release()}

    def _consent(self, call: Call) -> None:
        self.oauth.expect_consent(call)

    def _device(self, call: Call) -> None:
        self.oauth.devices.decide(call["user_code"], approved=call["approved"], subject=call.get("subject"))

    def _mint(self, call: Call) -> Any:
        """Grants without a consent; "{n}" in the subject becomes the number of the grant."""
        client_id = call.get("client_id") or next(iter(self.config.clients))
        subject = call.get("subject") or self.config.subject
        return {
            "grants": [
                self._mint_one(client_id, subject.replace("{n}", str(number)), call)
                for number in range(1, call.get("count", 1) + 1)
            ]
        }

    def _mint_one(self, client_id: str, subject: str, call: Call) -> dict[str, Any]:
        family = self.grants.new_family(client_id, subject, call.get("scope") or "read")
        issue = self.grants.issue(family, via="mint", lifetime=call.get("access_lifetime"))
        return {
            "family": family.id,
            "client_id": client_id,
            "subject": subject,
            "scope": family.scope,
            "access_token": issue.access.value,
            "refresh_token": issue.refresh_token,
            "expires_in": issue.lifetime,
        }

    def _revoke_family(self, call: Call) -> None:
        if call["family"] not in self.grants.families:
            raise BadControl("no such family")
        self.grants.revoke(self.grants.families[call["family"]], call.get("reason") or "control")

    async def _wait(self, params: dict[str, str]) -> Any:
        seconds = float(params.pop("timeout", "10"))
        waits: list[Awaitable[None]] = [self.tally.reached(what, int(n)) for what, n in params.items()]
        await asyncio.wait_for(asyncio.gather(*waits), seconds)
        return self.tally.counts

    async def _ledger(self) -> Any:
        await self.ledger.durable()
        lines = await asyncio.to_thread(self.ledger.path.read_text)
        return {"events": [json.loads(line) for line in lines.splitlines()]}
