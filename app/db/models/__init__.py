"""All tables. Importing this package makes `Base.metadata` complete."""

from app.db.models.checkpoints import Checkpoint
from app.db.models.duties import DutyDone
from app.db.models.files import File
from app.db.models.jobs import (
    STATES,
    TERMINAL,
    WITHOUT_METADATA,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetadata,
    JobMetric,
)
from app.db.models.keys import AdminKey, ApiKey, Key, Organization, Project, ServiceAccount
from app.db.models.models import CheckpointPermission, TunedModel, Usage
from app.db.models.outbox import Outbox
from app.db.models.repeats import Repeat
from app.db.models.traffic import ModelHour, Prediction
from app.db.models.uploads import Upload, UploadPart
from app.db.models.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.db.models.workers import Worker

__all__ = [
    "STATES",
    "TERMINAL",
    "WITHOUT_METADATA",
    "AdminKey",
    "ApiKey",
    "Checkpoint",
    "CheckpointPermission",
    "DutyDone",
    "File",
    "Job",
    "JobAttempt",
    "JobEvent",
    "JobLease",
    "JobMetadata",
    "JobMetric",
    "Key",
    "ModelHour",
    "Organization",
    "Outbox",
    "Prediction",
    "Project",
    "Repeat",
    "ServiceAccount",
    "TunedModel",
    "Upload",
    "UploadPart",
    "Usage",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Worker",
]
