"""Filters of a project's list of jobs: an extension of OpenAI's, which has `metadata` only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, or_

from app.catalog import Catalog
from app.db.tables import Job, JobState
from app.jobs.serializers import STATUS_BY_STATE


class JobStatusFilter(StrEnum):
    """Statuses to list. `pausing` and `finalizing` are states of a job that is shown as running."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs of these values; None is any. `created_before` is exclusive.

    `metadata` lists jobs that have all of these pairs; None lists those without any.
    `search` is a part of the id, the suffix or the fine-tuned model's name, in any case.
    """

    metadata: Mapping[str, str] | None
    statuses: Sequence[JobStatusFilter] | None = None
    model: str | None = None
    method: str | None = None
    search: str | None = None
    created_since: datetime | None = None
    created_before: datetime | None = None

    def conditions(self, catalog: Catalog) -> list[ColumnElement[bool]]:
        """Build the conditions of all but the metadata. A model may be named by an alias."""
        found: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            found.append(Job.state.in_(_list_states(self.statuses)))
        if self.model is not None:
            base = catalog.get(self.model)
            is_base = Job.base_model == (self.model if base is None else base.id)
            from_base = and_(Job.start_model.is_(None), is_base)
            found.append(or_(Job.start_model == self.model, from_base))
        if self.method is not None:
            found.append(Job.method == self.method)
        if self.search is not None:
            texts = (Job.id, Job.suffix, Job.fine_tuned_model)
            found.append(or_(*(text.icontains(self.search, autoescape=True) for text in texts)))
        if self.created_since is not None:
            found.append(Job.created_at >= self.created_since)
        if self.created_before is not None:
            found.append(Job.created_at < self.created_before)
        return found


def _list_states(statuses: Sequence[JobStatusFilter]) -> list[JobState]:
    """List the states that are shown as one of the statuses, or named by it."""
    return [
        state
        for state, status in STATUS_BY_STATE.items()
        if state.value in statuses or status in statuses
    ]
