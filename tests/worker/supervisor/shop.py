"""Where tests order trainings from a trainer whose training processes are fakes."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.db.models import Job
from app.db.session import transaction
from tests.rows import make_file, make_job, make_project
from worker.supervisor.attempt import Machine
from worker.supervisor.runner import Supervisor

FAKE_TRAINING = (sys.executable, str(Path(__file__).with_name("fake_training.py")))
EXAMPLES = 12
TEXT = b'{"messages": []}\n' * EXAMPLES


@dataclass
class Shop:
    machine: Machine
    supervisor: Supervisor

    def order(self, **plan: Any) -> str:
        """A queued job whose training goes by `plan`; its id."""
        with transaction(self.machine.sessions) as session:
            project = make_project(session)
            digest = hashlib.sha256(TEXT).hexdigest()
            file = make_file(session, project, sha256=digest, bytes=len(TEXT))
            self.machine.store.put(file.storage_key, TEXT)
            job = make_job(session, project, training_file_id=file.id, hyperparameters=plan)
            return job.id

    def job(self, job_id: str) -> Job:
        with transaction(self.machine.sessions) as session:
            return session.get_one(Job, job_id)
