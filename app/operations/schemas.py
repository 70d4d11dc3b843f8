"""Response bodies of the health and operator routes."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel

from app.db.tables import JobState, TrainerState
from app.wire.base import UnixTime


class ReadinessStatus(StrEnum):
    """`degraded`: requests are served, but a background process needs an operator's attention."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """State of one dependency; `message` describes the problem."""

    ok: bool
    message: str | None = None


class Readiness(BaseModel):
    """State of the service and of each of its dependencies."""

    status: ReadinessStatus
    checks: dict[str, Check]


class Trainer(BaseModel):
    """A trainer process. `job_ids` are the jobs of the organization that it holds."""

    name: str
    state: TrainerState
    is_live: bool
    started_at: UnixTime
    heartbeat_at: UnixTime
    running_jobs: int
    job_ids: list[str]


class UnfinishedJob(BaseModel):
    """A job that has not ended; `reason` says why it waits."""

    id: str
    project_id: str
    project_name: str
    state: JobState
    model: str
    method: str
    created_at: UnixTime
    started_at: UnixTime | None
    trained_seconds: float
    step: int
    total_steps: int | None
    trainer: str | None
    reason: str | None


class PeriodicTaskStatus(BaseModel):
    name: str
    last_succeeded_at: UnixTime
    interval_seconds: float
    is_late: bool


class OutboxDepth(BaseModel):
    """Committed side effects of a kind that are not performed yet."""

    kind: str
    pending: int
    oldest_at: UnixTime


class StorageSize(BaseModel):
    """Stored bytes of all projects, the size of the database, and free bytes by disk."""

    stored_bytes: int
    stored_files: int
    database_bytes: int
    free_bytes: dict[str, int]


class Machine(BaseModel):
    """The machine of the API process that answered.

    `free_disk_bytes` is of the fuller of the disks of LUTHIER_HOME and of the storage, where they
    are on this machine.
    """

    cpu_count: int
    load_average: float
    memory_bytes: int
    available_memory_bytes: int
    free_disk_bytes: int | None


class RouteTimes(BaseModel):
    """Requests of a route to the API process that answered, since its start."""

    method: str
    route: str
    requests: int
    mean_seconds: float


class Operations(BaseModel):
    """The service as its operator sees it."""

    object: Literal["organization.operations"] = "organization.operations"
    trainers: list[Trainer]
    jobs: list[UnfinishedJob]
    periodic_tasks: list[PeriodicTaskStatus]
    outbox: list[OutboxDepth]
    storage: StorageSize
    machine: Machine
    slowest_routes: list[RouteTimes]


class ProjectStatus(BaseModel):
    """Jobs of the key's project, and whether another could start now.

    `can_start_now` is true if a trainer is idle and the project is below its quota of running jobs.
    `next_free_at` is the estimated end of the project's own jobs; null if one can start now, or if
    only others' jobs are running. `trainers` are those that take jobs of any project.
    """

    object: Literal["status"] = "status"
    running_jobs: int
    queued_jobs: int
    paused_jobs: int
    max_running_jobs: int | None
    trainers: int
    can_start_now: bool
    next_free_at: UnixTime | None
    machine: Machine
