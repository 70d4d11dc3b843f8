"""Filters of the list of jobs: from the page's URL to the API's parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import Request

PAGE_SIZE = 50
STATUSES = (
    "validating_files",
    "queued",
    "running",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
)
# Of the page's fields, those that the API has by the same name.
SAME_NAMES = ("model", "method", "search", "after")


@dataclass(frozen=True, slots=True)
class JobFilters:
    """Values of the page's fields as they were given; empty ones are left out.

    `since` and `until` are days in UTC, both inclusive.
    """

    statuses: tuple[str, ...]
    values: Mapping[str, str]

    @classmethod
    def read(cls, request: Request) -> "JobFilters":
        query = request.query_params
        names = (*SAME_NAMES, "since", "until")
        values = {name: query[name].strip() for name in names if query.get(name, "").strip()}
        return cls(tuple(query.getlist("status")), values)

    @property
    def is_empty(self) -> bool:
        """True if no filter is set. A page of the list is none."""
        return not self.statuses and not self.values.keys() - {"after"}

    def to_query(self, **changes: str | None) -> str:
        """The query of a URL with these filters, and with changed values; None removes one."""
        values = {**self.values, **changes}
        pairs = [("status", status) for status in self.statuses]
        pairs += [(name, value) for name, value in values.items() if value is not None]
        return urlencode(pairs)

    def to_api(self) -> dict[str, Any]:
        """The API's parameters. Raises ValueError for a day that is none."""
        parameters: dict[str, Any] = {"limit": PAGE_SIZE, "include[]": "progress"}
        if self.statuses:
            parameters["status[]"] = list(self.statuses)
        parameters |= {name: self.values[name] for name in SAME_NAMES if name in self.values}
        if since := self.values.get("since"):
            parameters["created_at[gte]"] = _parse_day(since)
        if until := self.values.get("until"):
            parameters["created_at[lt]"] = _parse_day(until) + int(timedelta(1).total_seconds())
        return parameters


def _parse_day(text: str) -> int:
    """Unix time at which a day begins, in UTC. Raises ValueError."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise ValueError(f"Write days as 2026-11-30, not as '{text[:20]}'.") from None
