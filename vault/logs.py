"""One line of JSON a log record: fields, never formatted values, and no traceback with local variables."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from vault.audit import request_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_OURS = ("integrations", "jobs", "vault")
# Below it, libraries write addresses with their query, and statements with their values.
_LIBRARIES = logging.WARNING


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            **fields,
        }
        if record.exc_info and record.exc_info[1]:
            # Where it happened, not what was said: the text of a foreign error may hold what we sent.
            error = record.exc_info[1]
            line["error"] = type(error).__qualname__
            line["where"] = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in _frames(error)]
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)


def configure(level: str) -> None:
    """Send every record of ours from *level* on to standard error, of libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    root.setLevel(max(_LIBRARIES, logging.getLogger(_OURS[0]).level))


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))[-12:]
