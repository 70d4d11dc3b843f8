"""Structured logs: one JSON object a line on stderr, without secrets and training text.

Callers pass fields, never bodies; `redact` is the net under that rule.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

# API keys, bearer tokens, passwords in URLs, presigned S3 signatures.
SECRETS = re.compile(
    r"(sk-[A-Za-z0-9_-]{8})[A-Za-z0-9_-]+"
    r"|(?i:(bearer\s+)\S+)"
    r"|(://[^:/@\s]*:)[^@\s]+(?=@)"
    r"|(X-Amz-Signature=)[0-9a-fA-F]+"
)


def redact(text: str) -> str:
    """`text` with whatever looks like a secret replaced by `***`."""
    return SECRETS.sub(lambda m: next(g for g in m.groups() if g) + "***", text)


def _redact_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    return {k: redact(v) if isinstance(v, str) else v for k, v in event.items()}


def configure(level: str, process: str) -> None:
    """Set up logging for this process; called by entry points only, never at import."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact_fields,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These repeat on every request what our own lines say better, query strings included.
    for noisy in ("uvicorn.access", "httpx", "httpcore", "botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def get(name: str) -> Any:
    """A logger whose calls take an event name and fields: `log.info("job.claimed", job=id)`."""
    return structlog.get_logger(name)
