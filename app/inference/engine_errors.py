"""Errors of requests to engines."""

from typing import ClassVar

from app.errors import InvalidRequest, ServiceUnavailable


class EngineUnavailable(ServiceUnavailable):
    """The model's engine is unavailable. Please retry in a moment."""


class EngineFailed(EngineUnavailable):
    """The model's engine failed. Please retry in a moment."""


class EngineTimeout(EngineUnavailable):
    """The model took too long to respond and was stopped. Set 'max_tokens', or use streaming."""

    status = 504
    # A retry would take as long again.
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}


class NotSupportedByEngine(InvalidRequest):
    """The model's engine cannot do this."""

    code = "unsupported_by_engine"
