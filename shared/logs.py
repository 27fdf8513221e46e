"""Structured logs: one JSON line per event, to stdout; phone numbers only as keyed hashes."""

import hmac
import logging
import sys
from collections.abc import Callable

import structlog

_REPEATED_S = 1.0
"""A library says the same thing so often at most: aiokafka reports an unreachable broker a thousand times a second."""


class _Calm(logging.Filter):
    """Of a library's lines with the same words, one a second; it tells how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        line = (record.name, str(record.msg))
        at, left_out = self._said.get(line, (float("-inf"), 0))
        if record.created - at < _REPEATED_S:
            self._said[line] = (at, left_out + 1)
            return False
        self._said[line] = (record.created, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times since the last such line)"
        return True


def configure(level: str, service: str) -> None:
    """Make structlog and the standard library write one JSON object per line, with `service` in each."""
    number = logging.getLevelName(level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(_Calm())
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for chatty in ("aiokafka", "kafka", "aiohttp.access", "faust", "mode"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))
    structlog.contextvars.bind_contextvars(service=service)


def hasher(key: str) -> Callable[[str], str]:
    """A function from a user to the keyed hash that stands for it in logs and in the ledger (16 hex digits)."""
    secret = key.encode()

    def hashed(user: str) -> str:
        return hmac.digest(secret, user.encode(), "sha256").hex()[:16]

    return hashed
