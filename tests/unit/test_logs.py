"""One line of JSON a record, and nothing in it that a foreign error had to say."""

import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from integrations.contract import Secret
from vault.audit import request_id
from vault.logs import LONGEST_HOLD, MOST_HELD, Batched, JsonLines, configure


def line_of(message: str, *args: object, level: int = logging.INFO, **more: Any) -> dict[str, Any]:
    """Return the line that is written of a record, parsed; it has to be one line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("vault.test")
    logger.addHandler(handler)
    logger.log(level, message, *args, **more)
    written = stream.getvalue()
    assert written.count("\n") == 1 == len(written.splitlines())
    return dict(json.loads(written))


@pytest.fixture(name="root")
def _root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was, and ours with it."""
    loggers = [logging.getLogger(name) for name in (None, "vault", "jobs", "integrations")]
    root, levels = loggers[0], [logger.level for logger in loggers]
    before = root.handlers[:]
    yield root
    root.handlers[:] = before
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True


def test_a_record_is_one_line_with_its_fields() -> None:
    """What was passed as extra is a field of its own."""
    line = line_of("a request", extra={"status": 200, "ms": 1.5})

    assert line["message"] == "a request"
    assert line["level"] == "info"
    assert line["logger"] == "vault.test"
    assert (line["status"], line["ms"]) == (200, 1.5)
    assert line["at"].endswith("+00:00")


def test_a_line_break_in_a_value_makes_no_second_line() -> None:
    """Nobody can write a line of their own by putting a line break into a value."""
    line = line_of("asked for %s", 'x\n{"level": "critical"}', extra={"name_": "a\r\nb\u2028c\x00"})

    assert line["level"] == "info"
    assert line["name_"] == "a\r\nb\u2028c\x00"


def test_a_secret_among_the_fields_does_not_show() -> None:
    """A Secret stays masked, as an argument and as a field, whatever it is wrapped in."""
    hidden = Secret("hunter2-canary")
    line = line_of("a %s", hidden, extra={"token": hidden, "list": [hidden], "object": {"a": hidden}})

    assert "hunter2" not in json.dumps(line)
    assert line["token"] == "Secret(***)"


def test_an_error_is_named_and_placed_and_not_quoted() -> None:
    """A foreign error's text may hold what we sent: only its type and where it happened are written."""
    try:
        raise ValueError("hunter2 was refused")
    except ValueError as error:
        error.add_note("hunter2 again")
        line = line_of("failed", level=logging.ERROR, exc_info=True)

    assert line["error"] == "ValueError"
    assert any(frame.startswith("test_logs.py:") for frame in line["where"])
    assert "hunter2" not in json.dumps(line)


def test_an_error_within_an_error_is_not_quoted_either() -> None:
    """Neither causes nor contexts are printed."""
    try:
        try:
            raise KeyError("hunter2")
        except KeyError as cause:
            raise RuntimeError("hunter2 too") from cause
    except RuntimeError:
        line = line_of("failed", level=logging.ERROR, exc_info=True)

    assert line["error"] == "RuntimeError"
    assert "hunter2" not in json.dumps(line)


def test_the_request_is_named_where_there_is_one() -> None:
    """Every line of a request carries its id; outside of one, there is none."""
    assert "request_id" not in line_of("idle")
    token = request_id.set("abcdefgh")
    try:
        assert line_of("busy")["request_id"] == "abcdefgh"
    finally:
        request_id.reset(token)


def test_a_field_that_json_does_not_know_is_still_written() -> None:
    """An odd value costs no line."""
    assert line_of("odd", extra={"things": {1, 2}.__class__, "half": "\ud800"})["message"] == "odd"


def test_libraries_speak_from_warning_on_whatever_the_level(root: logging.Logger) -> None:
    """Those that write addresses with their query, or statements with values, do not at DEBUG either."""
    configure("DEBUG")

    for name in ("vault.refresh", "jobs.process", "integrations.oauth"):
        assert logging.getLogger(name).isEnabledFor(logging.DEBUG), name
    for name in ("httpx", "httpcore", "aiohttp.client", "aiosqlite", "sqlalchemy.engine.Engine", "psycopg", "any"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO), name
        assert logging.getLogger(name).isEnabledFor(logging.WARNING), name


def test_a_level_above_warning_holds_for_libraries_too(root: logging.Logger) -> None:
    """Whoever wants errors only gets errors only."""
    configure("ERROR")

    assert not logging.getLogger("vault.refresh").isEnabledFor(logging.WARNING)
    assert not logging.getLogger("aiohttp").isEnabledFor(logging.WARNING)


def test_configuring_replaces_every_handler_and_writes_to_standard_error(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that was there before could print in another form; none is left."""
    root.addHandler(logging.StreamHandler(io.StringIO()))
    configure("WARNING")

    assert [type(handler.formatter) for handler in root.handlers] == [JsonLines]
    logging.getLogger("vault.test").warning("heard")
    logging.getLogger("vault.test").info("not heard")
    written = capsys.readouterr()
    assert written.out == ""
    assert [json.loads(line)["message"] for line in written.err.splitlines()] == ["heard"]
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr


class Told(io.StringIO):
    """A stream that says when something has been written to it, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        self.written.set()
        return super().write(text)


def batched() -> tuple[logging.Logger, Told]:
    stream = Told()
    handler = Batched(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("vault.test")
    logger.addHandler(handler)
    return logger, stream


def test_lines_that_come_together_are_written_together_and_soon() -> None:
    """A line below WARNING waits for others, but not for long, and the order stays."""
    logger, stream = batched()
    began = time.monotonic()
    for number in range(3):
        logger.info("line %d", number)
    held = stream.writes

    assert stream.written.wait(10 * LONGEST_HOLD + 5)
    assert time.monotonic() - began >= LONGEST_HOLD / 2
    assert (held, stream.writes) == (0, 1)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "line 0",
        "line 1",
        "line 2",
    ]


def test_a_warning_is_written_at_once_with_what_came_before_it() -> None:
    """Whatever matters does not wait, and does not overtake."""
    logger, stream = batched()
    logger.info("first")
    logger.warning("second")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_not_more_is_held_than_a_batch() -> None:
    """Lines in memory are bounded, however many come at once."""
    logger, stream = batched()
    for number in range(2 * MOST_HELD + 1):
        logger.info("%d", number)

    assert 2 * MOST_HELD + 1 - len(stream.getvalue().splitlines()) < MOST_HELD


def test_nothing_is_lost_at_a_normal_end() -> None:
    """What is held when the process ends is written."""
    program = "from vault.logs import configure; import logging; configure('INFO');"
    program += "logging.getLogger('vault.test').info('the last word')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert [json.loads(line)["message"] for line in ended.stderr.splitlines()] == ["the last word"]


def test_a_second_has_many_lines_and_each_its_moment() -> None:
    """Times are to the millisecond, in UTC, and go on with the clock."""
    formatter = JsonLines()
    record = logging.makeLogRecord({"msg": "x", "created": 1_000_000_000.0})
    moments = []
    for record.created in (1_000_000_000.25, 1_000_000_000.999, 1_000_000_001.0):
        moments.append(json.loads(formatter.format(record))["at"])

    assert moments == [
        "2001-09-09T01:46:40.250+00:00",
        "2001-09-09T01:46:40.999+00:00",
        "2001-09-09T01:46:41.000+00:00",
    ]
