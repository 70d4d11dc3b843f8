"""All tables. Importing this package makes `Base.metadata` complete."""

from app.db.tables.checkpoints import Checkpoint
from app.db.tables.files import File
from app.db.tables.fine_tuned_models import CheckpointPermission, TunedModel, Usage
from app.db.tables.idempotency import Repeat
from app.db.tables.jobs import (
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
from app.db.tables.outbox import Outbox
from app.db.tables.periodic_tasks import DutyDone
from app.db.tables.tenants import AdminKey, ApiKey, Key, Organization, Project, ServiceAccount
from app.db.tables.traffic import ModelHour, Prediction
from app.db.tables.trainers import Worker
from app.db.tables.uploads import Upload, UploadPart
from app.db.tables.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint

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
