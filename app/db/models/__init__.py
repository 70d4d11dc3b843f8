"""All tables. Importing this package makes `Base.metadata` complete."""

from app.db.models.files import File
from app.db.models.jobs import (
    STATES,
    TERMINAL,
    Checkpoint,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetric,
    Outbox,
)
from app.db.models.keys import ApiKey, Organization, Project
from app.db.models.models import TunedModel, Usage
from app.db.models.repeats import Repeat

__all__ = [
    "STATES",
    "TERMINAL",
    "ApiKey",
    "Checkpoint",
    "File",
    "Job",
    "JobAttempt",
    "JobEvent",
    "JobLease",
    "JobMetric",
    "Organization",
    "Outbox",
    "Project",
    "Repeat",
    "TunedModel",
    "Usage",
]
