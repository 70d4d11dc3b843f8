"""Takes the next job and trains it."""

import os
import socket
from threading import Semaphore

from app import logs
from app.db.session import DatabaseUnavailable, transaction
from app.jobs import attempts, leases
from app.jobs.leases import Claim
from app.operations import trainers
from worker.supervisor import run_dirs
from worker.supervisor.attempt import Attempt, Machine
from worker.supervisor.circuit_breaker import Fitness
from worker.supervisor.liveness_lock import Presence

log = logs.get(__name__)


class Supervisor:
    """One per trainer process, called by as many threads as like to."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        name = f"{socket.gethostname()}:{os.getpid()}"
        self._presence = Presence(machine.settings.home, name)
        self._fitness = Fitness(rest_seconds=machine.settings.rest_seconds)
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
        machine = self._machine
        if machine.stopping.is_set() or self._fitness.is_resting:
            return False
        settings = machine.settings
        with transaction(machine.sessions) as session:
            claim = leases.claim(
                session,
                self._presence.name,
                lease_seconds=settings.lease_seconds,
                max_running=settings.max_running_jobs_per_project,
            )
        if claim is None:
            return False
        log.info("job.claimed", job=claim.job_id, epoch=claim.epoch)
        Attempt(machine, claim).run()
        self._learn(claim)
        return True

    def announce(self) -> None:
        """Say that this trainer is there and whether it takes jobs. Raises DatabaseUnavailable."""
        state = "active"
        if self._fitness.is_resting:
            state = trainers.UNHEALTHY
        if self._machine.stopping.is_set():
            state = "draining"
        with transaction(self._machine.sessions) as session:
            trainers.announce(session, self._presence.name, state=state)

    def _learn(self, claim: Claim) -> None:
        try:
            with transaction(self._machine.sessions) as session:
                ending = leases.ending(session, claim.job_id, claim.epoch)
            if ending is None:
                return
            self._fitness.note(claim.job_id, *ending)
            if self._fitness.is_resting:
                self.announce()
        except DatabaseUnavailable as error:
            # One ending that nobody learned from only makes a bad machine known a job later.
            log.warning("attempt.not_learned_from", job=claim.job_id, reason=str(error))

    def sweep(self) -> None:
        """End what dead trainers of this machine have begun, and remove the run folders of attempts
        that are over. Raises DatabaseUnavailable.
        """
        for name in self._presence.dead():
            with transaction(self._machine.sessions) as session:
                lost = attempts.abandoned(session, name)
            log.info("trainer.dead", name=name, jobs=lost)
            self._presence.forget(name)
        run_dirs.sweep(self._machine.settings, self._machine.sessions)
