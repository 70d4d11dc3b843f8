"""Acquires queued jobs and runs an attempt at each."""

import os
import socket

from app import logs
from app.db.session import DatabaseUnavailable, transaction
from app.db.tables import TrainerState
from app.jobs import lease_expiry, leases, scheduling, trainers
from app.jobs.leases import JobAssignment
from worker.supervisor import run_folders
from worker.supervisor.attempt import Attempt, TrainerContext
from worker.supervisor.circuit_breaker import CircuitBreaker
from worker.supervisor.liveness_lock import LivenessLock
from worker.supervisor.slots import Slot, Slots, list_devices
from worker.supervisor.storage_gate import StorageGate

log = logs.get_logger(__name__)


class JobRunner:
    """Runs jobs; one per trainer process. Thread-safe."""

    def __init__(self, context: TrainerContext) -> None:
        self._context = context
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._liveness_lock = LivenessLock(context.settings.home, name)
        self._circuit_breaker = CircuitBreaker(
            cooldown_seconds=context.settings.trainer_cooldown_seconds
        )
        self._storage_gate = StorageGate(context.settings, context.store)
        self._slots = Slots(
            context.settings.trainer_concurrency,
            list_devices(),
            per_slot=context.settings.training_processes,
        )

    def run_queued(self) -> None:
        """Run queued jobs one after another, if a slot is free. Raises DatabaseUnavailable."""
        slot = self._slots.acquire()
        if slot is None:
            return
        try:
            while self.run_next(slot):
                pass
        finally:
            self._slots.release(slot)

    def run_next(self, slot: Slot | None = None) -> bool:
        """Acquire one job and run an attempt at it; return False if no job is available.

        Raises DatabaseUnavailable, before a job is acquired.
        """
        context = self._context
        if context.stopping.is_set() or self._circuit_breaker.is_open:
            return False
        if not self._storage_gate.is_open():
            return False
        settings = context.settings
        with transaction(context.sessions) as session:
            assignment = leases.acquire(
                session,
                self._liveness_lock.name,
                lease_seconds=settings.lease_seconds,
                max_running=settings.max_running_jobs_per_project,
            )
        if assignment is None:
            return False
        log.info("job.acquired", job=assignment.job_id, attempt=assignment.attempt)
        Attempt(context, assignment, slot or Slot()).run()
        self._record_outcome(assignment)
        return True

    def report_state(self) -> None:
        """Record a heartbeat and the state of this trainer. Raises DatabaseUnavailable."""
        state = TrainerState.ACTIVE
        if self._circuit_breaker.is_open:
            state = TrainerState.UNHEALTHY
        if self._context.stopping.is_set():
            state = TrainerState.DRAINING
        with transaction(self._context.sessions) as session:
            trainers.record_heartbeat(session, self._liveness_lock.name, state=state)

    def _record_outcome(self, assignment: JobAssignment) -> None:
        try:
            with transaction(self._context.sessions) as session:
                scheduling.charge_attempts(session, assignment.job_id)
                outcome = leases.get_outcome(session, assignment.job_id, assignment.attempt)
            if outcome is None:
                return
            self._circuit_breaker.record(assignment.job_id, *outcome)
            if self._circuit_breaker.is_open:
                self.report_state()
        except DatabaseUnavailable as error:
            # Losing one outcome only makes the circuit breaker open one job later.
            log.warning("attempt.outcome_unknown", job=assignment.job_id, reason=str(error))

    def clean_up(self) -> None:
        """Reclaim the jobs of this machine's dead trainers and remove stale run folders.

        Raises DatabaseUnavailable.
        """
        for name in self._liveness_lock.find_dead():
            with transaction(self._context.sessions) as session:
                lost = lease_expiry.reclaim_from_dead_trainer(session, name)
            log.info("trainer.dead", name=name, jobs=lost)
            self._liveness_lock.remove(name)
        run_folders.remove_stale(self._context.settings, self._context.sessions)
