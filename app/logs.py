"""structlog setup: one JSON object per line on stderr, free of secrets and training text.

Callers log fields, never request bodies; `redact` is the safety net for that rule.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

# A longer string is cut before it is searched. Tracebacks are shorter.
MAX_LOGGED_CHARS = 16 * 1024
TRUNCATION_MARK = "…[truncated]"

# Possessive quantifiers (`*+`, `++`) never backtrack: clients choose much of what is logged, and a
# search must take time proportional to the text.
# API keys, webhook secrets, bearer tokens, passwords in DSNs and queries, presigned S3 requests.
SECRET_PATTERN = re.compile(
    r"(sk-[A-Za-z0-9_-]{8})[A-Za-z0-9_-]++"
    r"|(whsec_)[A-Za-z0-9+/=]++"
    r"|(?i:(bearer\s++)[^\s\"']++)"
    r"|(?i:(password=)[^\s&]++)"
    r"|(X-Amz-(?:Signature|Security-Token)=)[^\s&]++"
)
# Passwords in URLs, up to the last @ before a space: a password may contain one, though it should
# be percent-encoded. Without any @, the second alternative consumes the rest, or each `://` of a
# long path would be a search for an @ of its own.
URL_PASSWORD_PATTERN = re.compile(r"(://[^:/@\s]*+:)(?:(?:[^@\s]*+@)++|[^@\s]*+)")


def redact(text: str) -> str:
    """Replace everything in `text` that looks like a secret with `***`; cut a long text."""
    is_cut = len(text) > MAX_LOGGED_CHARS
    kept = text[:MAX_LOGGED_CHARS]

    def redact_url_password(match: re.Match[str]) -> str:
        if match[0].endswith("@"):
            return f"{match[1]}***@"
        # The @ may be in the part that was cut off.
        return f"{match[1]}***" if is_cut and match.end() == len(kept) else match[0]

    kept = URL_PASSWORD_PATTERN.sub(redact_url_password, kept)
    kept = SECRET_PATTERN.sub(lambda m: next(g for g in m.groups() if g) + "***", kept)
    return kept + TRUNCATION_MARK if is_cut else kept


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(item) for item in value]
    # The JSON renderer falls back to repr(), which may quote anything.
    return value if value is None or isinstance(value, bool | int | float) else redact(repr(value))


def _redact_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    return {key: _redact_value(value) for key, value in event.items()}


def configure(level: str, process: str) -> None:
    """Set up logging of this process. For entry points only, never at import."""

    # Not a context variable: a new thread starts with an empty context.
    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event["process"] = process
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_process,
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
    # They would log every request a second time, query string included.
    for noisy in ("uvicorn.access", "httpx", "httpcore", "botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger that takes an event name and fields: `log.info("job.acquired", job=id)`."""
    return structlog.get_logger(name)
