"""The ledger's file: append only, one JSON object a line, on disk before the answer it explains."""

import asyncio
import json
import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

FLUSH_SECONDS = 0.05
"""Lines nobody waits for (`delivered`) reach the disk within this."""

current_request: ContextVar[int | None] = ContextVar("current_request", default=None)
"""The request that is being processed; every event it causes carries its number."""


class LedgerWriter:
    """Appends events; `durable()` returns once all of them are on disk."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self.path = path
        self._fsync = fsync
        # Exclusive: family-1 of this process is not the family-1 of an earlier one.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._lines: list[str] = []
        self._recorded = 0
        self._durable = 0
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def record(self, event: str, **fields: Any) -> None:
        self._recorded += 1
        line = {"seq": self._recorded, "at": time.time(), "event": event, "request": current_request.get()}
        self._lines.append(json.dumps(line | fields))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    async def durable(self) -> None:
        """Group commit: what arrived during the last fsync shares the next one."""
        target = self._recorded
        while self._durable < target:
            await asyncio.shield(self._start_writing())

    def _start_writing(self) -> asyncio.Task[None]:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return self._writing

    async def _write(self) -> None:
        lines, self._lines, target = self._lines, [], self._recorded
        try:
            await asyncio.to_thread(self._append, "".join(f"{line}\n" for line in lines).encode())
            self._durable = target
        finally:
            self._writing = None

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]
        if self._fsync:
            os.fsync(self._file)

    def _flush(self) -> None:
        self._timer = None
        if self._lines:
            self._start_writing()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.durable()
        os.close(self._file)
