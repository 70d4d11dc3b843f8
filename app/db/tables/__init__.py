"""All tables and the enums of their states. Importing this package completes `Base.metadata`."""

from app.db.tables.audit_logs import AuditActor, AuditEvent, AuditLog
from app.db.tables.batches import ENDED_BATCH_STATES, Batch, BatchState
from app.db.tables.changes import ChangeRecord
from app.db.tables.checkpoints import Checkpoint, CheckpointKind
from app.db.tables.console import ConsoleLoginCode, ConsoleSession
from app.db.tables.conversations import Conversation, ConversationItem
from app.db.tables.evals import (
    ENDED_RUN_STATES,
    Eval,
    EvalOutputItem,
    EvalRun,
    EvalRunState,
    OutputItemStatus,
)
from app.db.tables.exports import ExportFormat, ExportState, ModelExport
from app.db.tables.files import File, FilePurpose, FileStatus
from app.db.tables.fine_tuned_models import (
    CheckpointPermission,
    FineTunedModel,
    ModelAlias,
    MonthlyTrainingUsage,
    TrainingUsage,
)
from app.db.tables.idempotency import IdempotencyRecord
from app.db.tables.jobs import (
    TERMINAL_STATES,
    WITHOUT_METADATA_SQL,
    AttemptEnd,
    AttemptOutcome,
    EventLevel,
    EventType,
    Job,
    JobAttempt,
    JobEvent,
    JobLease,
    JobMetadata,
    JobMetric,
    JobState,
    JobTestAnswer,
)
from app.db.tables.outbox import Outbox, OutboxKind, WorkerTask
from app.db.tables.periodic_tasks import PeriodicTaskRun
from app.db.tables.responses import (
    UNFINISHED_RESPONSE_STATES,
    ResponseState,
    StoredResponse,
)
from app.db.tables.storage import StorageIdentity, StorageUsage
from app.db.tables.stored_completions import Rating, StoredCompletion
from app.db.tables.sweeps import (
    Sweep,
    SweepEvent,
    SweepState,
    SweepStrategy,
    SweepTrial,
    TrialState,
)
from app.db.tables.tenants import (
    AdminKey,
    ApiKey,
    KeyMixin,
    Organization,
    Project,
    ServiceAccount,
    ServiceAccountRole,
)
from app.db.tables.traffic import ModelTrafficHour, Prediction
from app.db.tables.trainers import TrainerProcess, TrainerState
from app.db.tables.uploads import Upload, UploadPart, UploadState
from app.db.tables.usage import TokenUsage, UsageKind
from app.db.tables.webhooks import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.db.tables.work import WorkList, WorkPhase, WorkQueue, WorkRange, WorkResult, WorkStop

__all__ = [
    "ENDED_BATCH_STATES",
    "ENDED_RUN_STATES",
    "TERMINAL_STATES",
    "UNFINISHED_RESPONSE_STATES",
    "WITHOUT_METADATA_SQL",
    "AdminKey",
    "ApiKey",
    "AttemptEnd",
    "AttemptOutcome",
    "AuditActor",
    "AuditEvent",
    "AuditLog",
    "Batch",
    "BatchState",
    "ChangeRecord",
    "Checkpoint",
    "CheckpointKind",
    "CheckpointPermission",
    "ConsoleLoginCode",
    "ConsoleSession",
    "Conversation",
    "ConversationItem",
    "DeliveryState",
    "Eval",
    "EvalOutputItem",
    "EvalRun",
    "EvalRunState",
    "EventLevel",
    "EventType",
    "ExportFormat",
    "ExportState",
    "File",
    "FilePurpose",
    "FileStatus",
    "FineTunedModel",
    "IdempotencyRecord",
    "Job",
    "JobAttempt",
    "JobEvent",
    "JobLease",
    "JobMetadata",
    "JobMetric",
    "JobState",
    "JobTestAnswer",
    "KeyMixin",
    "ModelAlias",
    "ModelExport",
    "ModelTrafficHour",
    "MonthlyTrainingUsage",
    "Organization",
    "Outbox",
    "OutboxKind",
    "OutputItemStatus",
    "PeriodicTaskRun",
    "Prediction",
    "Project",
    "Rating",
    "ResponseState",
    "ServiceAccount",
    "ServiceAccountRole",
    "StorageIdentity",
    "StorageUsage",
    "StoredCompletion",
    "StoredResponse",
    "Sweep",
    "SweepEvent",
    "SweepState",
    "SweepStrategy",
    "SweepTrial",
    "TokenUsage",
    "TrainerProcess",
    "TrainerState",
    "TrainingUsage",
    "TrialState",
    "Upload",
    "UploadPart",
    "UploadState",
    "UsageKind",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WorkList",
    "WorkPhase",
    "WorkQueue",
    "WorkRange",
    "WorkResult",
    "WorkStop",
    "WorkerTask",
]
