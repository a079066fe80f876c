"""`python -m benchmarks [NAME…] [--quick]`: measure, and print tables in Markdown."""

import signal
import sys
import time
from types import FrameType

import click

from benchmarks import claims, fetch, keys, start, sweep, transports
from benchmarks.figures import Section, goals_table
from benchmarks.load import found_wrk
from benchmarks.machine import Unsuitable
from benchmarks.stage import stage

ALL = {
    "fetch": fetch.run,
    "sweep": sweep.run,
    "claims": claims.run,
    "start": start.run,
    "keys": keys.run,
    "transports": transports.run,
}
LONGEST = 15 * 60  # seconds for all of it


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)))
@click.option("--quick", is_flag=True, help="A sign of life in a minute or two; its figures mean nothing.")
def main(names: tuple[str, ...], quick: bool) -> None:
    """Measure what is named, or everything."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, _told_to_stop)
    signal.alarm(LONGEST)
    sections: list[Section] = []
    try:
        found_wrk()
        with stage(quick=quick) as made:
            for name in names or ALL:
                began = time.monotonic()
                sections.append(ALL[name](made))
                print(f"{sections[-1]}\n{name}: {time.monotonic() - began:.0f} s\n", flush=True)
    except Unsuitable as error:
        sys.exit(str(error))
    print(f"## Held to\n\n{goals_table(sections)}")


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the benchmarks took longer than {LONGEST} s")


def _told_to_stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
