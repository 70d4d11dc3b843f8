"""All tables. Importing this package makes `Base.metadata` complete."""

from app.db.tables.checkpoints import Checkpoint
from app.db.tables.files import File
from app.db.tables.fine_tuned_models import CheckpointPermission, FineTunedModel, TrainingUsage
from app.db.tables.idempotency import IdempotencyRecord
from app.db.tables.jobs import (
    JOB_STATES,
    TERMINAL_STATES,
    WITHOUT_METADATA_SQL,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetadata,
    JobMetric,
)
from app.db.tables.outbox import Outbox
from app.db.tables.periodic_tasks import PeriodicTaskRun
from app.db.tables.tenants import AdminKey, ApiKey, KeyMixin, Organization, Project, ServiceAccount
from app.db.tables.traffic import ModelTrafficHour, Prediction
from app.db.tables.trainers import TrainerProcess
from app.db.tables.uploads import Upload, UploadPart
from app.db.tables.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint

__all__ = [
    "JOB_STATES",
    "TERMINAL_STATES",
    "WITHOUT_METADATA_SQL",
    "AdminKey",
    "ApiKey",
    "Checkpoint",
    "CheckpointPermission",
    "File",
    "FineTunedModel",
    "IdempotencyRecord",
    "Job",
    "JobAttempt",
    "JobEvent",
    "JobLease",
    "JobMetadata",
    "JobMetric",
    "KeyMixin",
    "ModelTrafficHour",
    "Organization",
    "Outbox",
    "PeriodicTaskRun",
    "Prediction",
    "Project",
    "ServiceAccount",
    "TrainerProcess",
    "TrainingUsage",
    "Upload",
    "UploadPart",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
]
