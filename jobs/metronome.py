"""Ticks. APScheduler keeps the time and nothing else: what is due is a column, who does it is a claim.

Every process may tick. Nothing is stored in APScheduler and no token has a job, so a lost tick is
made up by the next one, and two schedulers cannot get in each other's way.
"""

from datetime import UTC, datetime

from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from vault.services import Vault

CHECK_INTERVAL = 30  # seconds between looks for what is due to be tried
HOUSEKEEPING_INTERVAL = 60  # seconds
USAGE_INTERVAL = 60  # seconds by which the figures of usage may lag
ANCHOR_INTERVAL = 60  # seconds of the audit that can be cut off without a trace


class Metronome:
    """Calls what a vault does by itself, each at its interval: the sweep, the checks, the housekeeping, …"""

    def __init__(self, vault: Vault) -> None:
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            # A tick that comes late is still a tick, several missed ones are one, and none overtakes another.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        sweep_interval = vault.settings.sweep_interval
        if sweep_interval > 0:
            self._every(sweep_interval, vault.sweeper.tick)
            self._every(sweep_interval, vault.devices.poll)
            self._every(CHECK_INTERVAL, vault.checks.tick)
            self._every(sweep_interval, vault.works.tick)
            self._every(HOUSEKEEPING_INTERVAL, vault.tidy)
            self._every(USAGE_INTERVAL, vault.roll_up)
        self._every(ANCHOR_INTERVAL, vault.anchor)  # whoever writes has a stream, swept or not

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Tick no more. The sweep begins its work in tasks of its own, which this does not cancel."""
        if self._scheduler.running:
            self._scheduler.pause()
            self._scheduler.shutdown(wait=False)

    def _every(self, seconds: float, job: object) -> None:
        self._scheduler.add_job(
            job, "interval", seconds=seconds, jitter=seconds / 10, next_run_time=datetime.now(UTC)
        )
