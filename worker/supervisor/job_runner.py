"""Takes the next job and trains it."""

import os
import socket
from threading import Semaphore

from app import logs
from app.db.session import DatabaseUnavailable, transaction
from app.jobs import attempts, leases
from app.jobs.leases import JobAssignment
from app.operations import trainers
from worker.supervisor import run_dirs
from worker.supervisor.attempt import Attempt, TrainerContext
from worker.supervisor.circuit_breaker import CircuitBreaker
from worker.supervisor.liveness_lock import LivenessLock

log = logs.get_logger(__name__)


class JobRunner:
    """One per trainer process, called by as many threads as like to."""

    def __init__(self, machine: TrainerContext) -> None:
        self._context = machine
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._liveness_lock = LivenessLock(machine.settings.home, name)
        self._circuit_breaker = CircuitBreaker(cooldown_seconds=machine.settings.rest_seconds)
        self._slots = Semaphore(machine.settings.train_slots)

    def run_queued(self) -> None:
        """Train queued jobs one after another, if a slot is free. Raises DatabaseUnavailable."""
        if not self._slots.acquire(blocking=False):
            return
        try:
            while self.run_next():
                pass
        finally:
            self._slots.release()

    def run_next(self) -> bool:
        """Take one job and stay with it until this attempt is over; False if there is none.

        Raises DatabaseUnavailable, before a job is taken.
        """
        machine = self._context
        if machine.stopping.is_set() or self._circuit_breaker.is_open:
            return False
        settings = machine.settings
        with transaction(machine.sessions) as session:
            claim = leases.acquire(
                session,
                self._liveness_lock.name,
                lease_seconds=settings.lease_seconds,
                max_running=settings.max_running_jobs_per_project,
            )
        if claim is None:
            return False
        log.info("job.claimed", job=claim.job_id, epoch=claim.attempt)
        Attempt(machine, claim).run()
        self._record_outcome(claim)
        return True

    def report_state(self) -> None:
        """Say that this trainer is there and whether it takes jobs. Raises DatabaseUnavailable."""
        state = "active"
        if self._circuit_breaker.is_open:
            state = trainers.UNHEALTHY
        if self._context.stopping.is_set():
            state = "draining"
        with transaction(self._context.sessions) as session:
            trainers.heartbeat(session, self._liveness_lock.name, state=state)

    def _record_outcome(self, claim: JobAssignment) -> None:
        try:
            with transaction(self._context.sessions) as session:
                ending = leases.get_outcome(session, claim.job_id, claim.attempt)
            if ending is None:
                return
            self._circuit_breaker.record(claim.job_id, *ending)
            if self._circuit_breaker.is_open:
                self.report_state()
        except DatabaseUnavailable as error:
            # One ending that nobody learned from only makes a bad machine known a job later.
            log.warning("attempt.not_learned_from", job=claim.job_id, reason=str(error))

    def clean_up(self) -> None:
        """End what dead trainers of this machine have begun, and remove the run folders of attempts
        that are over. Raises DatabaseUnavailable.
        """
        for name in self._liveness_lock.find_dead():
            with transaction(self._context.sessions) as session:
                lost = attempts.reclaim_from_dead_worker(session, name)
            log.info("trainer.dead", name=name, jobs=lost)
            self._liveness_lock.remove(name)
        run_dirs.remove_stale(self._context.settings, self._context.sessions)
