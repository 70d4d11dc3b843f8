"""Where tests order trainings from a trainer whose training processes are fakes."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.db.models import Job
from app.db.session import SessionMaker, transaction
from app.storage import BlobStore
from tests.rows import make_file, make_job, make_project
from worker.supervisor.attempt import Machine
from worker.supervisor.runner import Supervisor

FAKE_TRAINING = (sys.executable, str(Path(__file__).with_name("fake_training.py")))
EXAMPLES = 12
TEXT = b'{"messages": []}\n' * EXAMPLES


@dataclass(kw_only=True)
class Shop:
    """Takes orders, and tells how they stand."""

    sessions: SessionMaker
    store: BlobStore

    def order(self, *, start_model: str | None = None, **plan: Any) -> str:
        """A queued job whose training goes by `plan`; its id."""
        with transaction(self.sessions) as session:
            project = make_project(session)
            digest = hashlib.sha256(TEXT).hexdigest()
            file = make_file(session, project, sha256=digest, bytes=len(TEXT))
            self.store.put(file.storage_key, TEXT)
            asked = {"training_file_id": file.id, "hyperparameters": plan}
            return make_job(session, project, start_model=start_model, **asked).id

    def job(self, job_id: str) -> Job:
        with transaction(self.sessions) as session:
            return session.get_one(Job, job_id)


@dataclass(kw_only=True)
class Workshop(Shop):
    """A shop with a trainer in it."""

    machine: Machine
    supervisor: Supervisor
