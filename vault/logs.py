"""One line of JSON a log record: fields, never formatted values, and no traceback with local variables.

A request is a line, so a line has to be cheap: it costs one pass over the record, and lines that come
close together share one write.
"""

import json
import logging
import sys
import threading
import time
import traceback
from typing import TextIO

import msgspec

from vault.audit import request_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_OURS = ("integrations", "jobs", "vault")
# Below it, libraries write addresses with their query, and statements with their values.
_LIBRARIES = logging.WARNING
_PLAIN = frozenset({str, int, float, bool})
_LEVELS = {number: logging.getLevelName(number).lower() for number in range(0, 60, 10)}
LONGEST_HOLD = 0.1  # seconds that a line waits for others to be written with
MOST_HELD = 1000  # lines

_encode = msgspec.json.Encoder().encode


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._at = ""  # the second, as text

    def format(self, record: logging.LogRecord) -> str:
        if (lines := vars(record).get("lines")) is not None:
            return "\n".join([self._of_many(record, *line) for line in lines])
        line: dict[str, object] = {
            "at": self._moment(record.created),
            "level": _LEVELS.get(record.levelno) or record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := request_id.get()) is not None:
            line["request_id"] = request
        plain = True
        for name, value in vars(record).items():
            if name not in _STANDARD and value is not None:
                line[name] = value
                plain = plain and type(value) in _PLAIN
        if record.exc_info and record.exc_info[1]:
            # Where it happened, not what was said: the text of a foreign error may hold what we sent.
            error = record.exc_info[1]
            line["error"] = type(error).__qualname__
            line["where"] = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in _frames(error)]
            plain = False
        return (_plainly(line) if plain else None) or json.dumps(line, default=str)

    def _of_many(self, record: logging.LogRecord, created: float, line: msgspec.Struct) -> str:
        """Return one of the lines that *record* holds; each has a time of its own."""
        head = f'{{"at":"{self._moment(created)}","level":"{_LEVELS[record.levelno]}"'
        rest = _plainly(line) or json.dumps(msgspec.to_builtins(line))
        return f'{head},"logger":"{record.name}","message":"{record.msg}",{rest[1:]}'

    def _moment(self, created: float) -> str:
        """Return *created* as ISO 8601 in UTC; lines come many a second, and share its text."""
        second = int(created)
        if second != self._second:
            self._second, self._at = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._at}.{int(created * 1000) % 1000:03d}+00:00"


class Batched(logging.StreamHandler[TextIO]):
    """Writes lines to *stream* together: after LONGEST_HOLD, at once from WARNING on, and at the end.

    A process that is killed may lose the last LONGEST_HOLD of lines below WARNING, one that ends does
    not: `logging` flushes its handlers then. A stream that takes nothing holds up whoever logs.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held: list[str] = []
        self._begun = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # Called with the handler's lock.
        try:
            self._held.append(self.format(record))
            if record.levelno >= logging.WARNING or len(self._held) >= MOST_HELD:
                self.flush()
            elif len(self._held) == 1:
                self._write_soon()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what is held."""
        self.acquire()
        try:
            held, self._held = self._held, []
            if held:
                self.stream.write("\n".join(held) + "\n")
            super().flush()
        finally:
            self.release()

    def _write_soon(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_in_turn, name="log lines", daemon=True)
            self._writer.start()
        self._begun.set()

    def _write_in_turn(self) -> None:
        while True:
            self._begun.wait()
            self._begun.clear()
            time.sleep(LONGEST_HOLD)
            try:
                self.flush()
            except (OSError, ValueError):
                continue  # the stream is gone, and there is nobody else to tell


def configure(level: str) -> None:
    """Send every record of ours from *level* on to standard error, of libraries only from WARNING on."""
    handler = Batched(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    root.setLevel(max(_LIBRARIES, logging.getLogger(_OURS[0]).level))
    # What no line says need not be found out for each: a fifth of what a line costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _plainly(line: object) -> str | None:
    """Return *line*, whose values are plain, as JSON; None where it is not all ASCII, and needs escapes."""
    try:
        encoded = _encode(line)
    except (UnicodeEncodeError, OverflowError):
        return None
    return encoded.decode() if encoded.isascii() else None


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))[-12:]
