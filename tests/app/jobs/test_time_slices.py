"""Time slices: which running jobs yield their trainer, and that trained time becomes even."""

from collections import Counter

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.db import clock
from app.db.session import SessionMaker, transaction
from app.db.tables import Job, JobLease, Project
from app.jobs import attempt_outcomes, leases, lifecycle, scheduling, time_slices
from app.jobs.leases import JobAssignment, TrainerDirective
from app.jobs.time_slices import ProjectShare, RunningJob
from app.operations.reconciler import Reconciler
from tests.factories import make_job, make_project

SLICE = 900.0


def share(project: str, *, running: int = 0, time: float = 0, waiting: int = 0, limit: int = 0):
    return ProjectShare(
        project_id=project, running=running, virtual_time=time, waiting=waiting, limit=limit
    )


def job(name: str, seconds: float = SLICE, *, is_yielding: bool = False) -> RunningJob:
    """Build a running job of the project that its name begins with."""
    return RunningJob(job_id=name, project_id=name[0], seconds=seconds, is_yielding=is_yielding)


def choose(shares: list[ProjectShare], *jobs: RunningJob) -> list[str]:
    return time_slices.choose_yielding(shares, jobs, slice_seconds=SLICE)


class TestA58Choice:
    def test_a_job_that_used_its_slice_yields_to_a_project_with_less_time(self) -> None:
        shares = [share("a", running=1, time=1000, waiting=5), share("b", time=10, waiting=1)]
        assert choose(shares, job("a1", SLICE)) == ["a1"]
        assert choose(shares, job("a1", SLICE - 1)) == []

    def test_a_project_never_displaces_its_own_jobs(self) -> None:
        assert choose([share("a", running=2, time=1000, waiting=9)], job("a1"), job("a2")) == []

    def test_a_project_that_had_more_time_waits(self) -> None:
        shares = [share("a", running=1, time=1000), share("b", time=2000, waiting=1)]
        assert choose(shares, job("a1")) == []

    def test_one_trainer_is_requested_per_waiting_job(self) -> None:
        shares = [share("a", running=3, time=3000, waiting=9), share("b", waiting=1)]
        assert choose(shares, job("a1", 2000), job("a2", 3000), job("a3", 1000)) == ["a2"]

    def test_a_trainer_that_was_already_requested_counts(self) -> None:
        shares = [share("a", running=3, time=3000, waiting=9), share("b", waiting=1)]
        assert choose(shares, job("a1"), job("a2", is_yielding=True), job("a3")) == []

    def test_trainers_are_shared_evenly_by_number(self) -> None:
        shares = [share("a", running=4, time=9000), share("b", waiting=8), share("c", waiting=8)]
        jobs = [job(f"a{number}") for number in range(4)]
        # Of four trainers b and c get one each; a keeps two, since one each would be fewer for a.
        assert len(choose(shares, *jobs)) == 3

    def test_a_project_at_its_quota_displaces_no_job(self) -> None:
        shares = [share("a", running=1, time=1000), share("b", running=1, waiting=3, limit=1)]
        assert choose(shares, job("a1")) == []


def acquire(session: Session) -> JobAssignment | None:
    return leases.acquire(session, "trainer", lease_seconds=60)


def pass_time(session: Session, seconds: float) -> None:
    """Let the simulated clock advance: all that has happened lies further back."""
    for table, column in (
        ("job_attempts", "started_at"),
        ("job_attempts", "ended_at"),
        ("projects", "last_served_at"),
        ("jobs", "run_after"),
    ):
        statement = f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds)"
        session.execute(text(statement), {"seconds": seconds})


class Simulation:
    """Trainers whose jobs never end, with a simulated clock and the real queue."""

    def __init__(self, sessions: SessionMaker, *, trainers: int) -> None:
        self.sessions = sessions
        self.free = trainers
        self.held: dict[str, JobAssignment] = {}
        self.seconds: Counter[str] = Counter()
        self.yields = 0

    def fill_trainers(self) -> None:
        while self.free:
            with transaction(self.sessions) as session:
                assignment = acquire(session)
            if assignment is None:
                return
            self.free -= 1
            self.held[assignment.job_id] = assignment

    def run(self, seconds: float) -> None:
        """Let time pass, then do what the scheduler requests."""
        self.fill_trainers()
        with transaction(self.sessions) as session:
            pass_time(session, seconds)
            job_ids = time_slices.request_yields(session, slice_seconds=SLICE, max_running=0)
        for assignment in self.held.values():
            self.seconds[assignment.project_id] += seconds
        for job_id in job_ids:
            self.yield_job(self.held.pop(job_id))
        self.fill_trainers()

    def yield_job(self, assignment: JobAssignment) -> None:
        self.yields += 1
        with transaction(self.sessions) as session:
            attempt_outcomes.yield_job(session, assignment.job_id, assignment.attempt)
        with transaction(self.sessions) as session:
            scheduling.charge_attempts(session, assignment.job_id)
        self.free += 1


@pytest.fixture
def simulation(sessions: SessionMaker) -> Simulation:
    return Simulation(sessions, trainers=2)


def add_project(sessions: SessionMaker, *, jobs: int) -> str:
    with transaction(sessions) as session:
        project = make_project(session)
        for _ in range(jobs):
            make_job(session, project)
        return project.id


class TestA58Shares:
    def test_a_neighbour_starts_within_a_slice(self, simulation: Simulation) -> None:
        attacker = add_project(simulation.sessions, jobs=20)
        for _ in range(10):
            simulation.run(SLICE / 3)
        assert simulation.yields == 0
        neighbour = add_project(simulation.sessions, jobs=1)
        simulation.run(SLICE / 3)
        simulation.run(SLICE / 3)
        assert neighbour in {held.project_id for held in simulation.held.values()}
        assert attacker in {held.project_id for held in simulation.held.values()}

    def test_trained_time_of_many_projects_becomes_even(self, simulation: Simulation) -> None:
        projects = [add_project(simulation.sessions, jobs=jobs) for jobs in (20, 1, 3, 1, 1)]
        turns = 60
        for _ in range(turns):
            simulation.run(SLICE / 3)
        shares = [simulation.seconds[project] for project in projects]
        # A trainer is never idle, and no project is more than two slices ahead of another.
        assert sum(shares) == 2 * turns * SLICE / 3
        assert max(shares) - min(shares) <= 2 * SLICE
        # No ping-pong: each attempt lasted for a slice.
        assert simulation.yields <= 2 * turns / 3

    def test_idle_time_saves_up_no_claim(self, simulation: Simulation) -> None:
        busy = add_project(simulation.sessions, jobs=4)
        for _ in range(60):
            simulation.run(SLICE)
        late = add_project(simulation.sessions, jobs=4)
        simulation.seconds.clear()
        for _ in range(20):
            simulation.run(SLICE)
        assert abs(simulation.seconds[busy] - simulation.seconds[late]) <= 2 * SLICE

    def test_short_jobs_of_one_project_follow_each_other_beside_a_long_one(
        self, sessions: SessionMaker
    ) -> None:
        """Projects share the time of a trainer, not the number of its jobs."""
        long, short = (add_project(sessions, jobs=10) for _ in range(2))
        served = []
        for _ in range(8):
            with transaction(sessions) as session:
                assignment = acquire(session)
                assert assignment is not None
                pass_time(session, 300 if assignment.project_id == long else 100)
                lifecycle.cancel(session, assignment.project_id, assignment.job_id)
            with transaction(sessions) as session:
                scheduling.charge_attempts(session, assignment.job_id)
            served.append(assignment.project_id)
        assert Counter(served) == {long: 2, short: 6}

    def test_time_of_a_lost_trainer_is_charged_once_up_to_its_last_heartbeat(
        self, sessions: SessionMaker
    ) -> None:
        with transaction(sessions) as session:
            project_id = make_job(session).project_id
            assignment = acquire(session)
            assert assignment is not None
            pass_time(session, 500)
            session.execute(
                update(JobLease).values(
                    lease_until=clock.seconds_from_now(-1), heartbeat_at=clock.seconds_from_now(-60)
                )
            )
        reconciler = Reconciler(sessions, grace_period_seconds=0)
        for _ in range(3):
            reconciler.run()
            for task in reconciler.tasks:
                task.due_at = 0
        # A trainer that was only frozen charges it too when it wakes up.
        with transaction(sessions) as session:
            scheduling.charge_attempts(session, assignment.job_id)
        with transaction(sessions) as session:
            charged = session.get_one(Project, project_id).virtual_time
        assert charged == pytest.approx(440, abs=30)

    def test_time_alone_on_the_only_trainer_is_no_debt(self, sessions: SessionMaker) -> None:
        simulation = Simulation(sessions, trainers=1)
        busy = add_project(sessions, jobs=4)
        for _ in range(60):
            simulation.run(SLICE)
        late = add_project(sessions, jobs=4)
        simulation.seconds.clear()
        for _ in range(40):
            simulation.run(SLICE)
        assert simulation.seconds[busy] >= 10 * SLICE, simulation.seconds
        assert simulation.seconds[late] >= 10 * SLICE, simulation.seconds


class TestRequests:
    def test_0_means_never(self, session: Session) -> None:
        acquire_for_slice(session)
        assert time_slices.request_yields(session, slice_seconds=0, max_running=0) == []

    def test_the_trainer_gets_the_directive_and_the_job_no_penalty(self, session: Session) -> None:
        assignment = acquire_for_slice(session)
        job_id, attempt = assignment.job_id, assignment.attempt
        assert time_slices.request_yields(session, slice_seconds=SLICE, max_running=0) == [job_id]
        assert leases.get_directive(session, job_id, attempt) is TrainerDirective.YIELD
        assert leases.is_owner(session, job_id, attempt)
        # It is requested once.
        assert time_slices.request_yields(session, slice_seconds=SLICE, max_running=0) == []
        attempt_outcomes.yield_job(session, job_id, attempt)
        row = session.get_one(Job, job_id, populate_existing=True)
        assert (row.state, row.no_progress_attempts) == ("queued", 0)
        assert row.trained_seconds == pytest.approx(SLICE, abs=60)

    def test_a_pausing_job_pauses(self, session: Session) -> None:
        assignment = acquire_for_slice(session)
        time_slices.request_yields(session, slice_seconds=SLICE, max_running=0)
        lifecycle.pause(session, assignment.project_id, assignment.job_id)
        directive = leases.get_directive(session, assignment.job_id, assignment.attempt)
        assert directive is TrainerDirective.PAUSE

    def test_a_job_that_waits_only_just_may_find_a_free_trainer(self, session: Session) -> None:
        assignment = acquire_for_slice(session)
        fresh = select(Job).where(Job.id != assignment.job_id)
        session.scalars(fresh).one().run_after = func.clock_timestamp()
        session.flush()
        assert time_slices.request_yields(session, slice_seconds=SLICE, max_running=0) == []

    def test_the_reconciler_requests_yields(self, sessions: SessionMaker) -> None:
        with transaction(sessions) as session:
            assignment = acquire_for_slice(session)
        assert Reconciler(sessions, grace_period_seconds=60, slice_seconds=SLICE).run()
        with transaction(sessions) as session:
            assert session.get_one(JobLease, assignment.job_id).yield_requested_at is not None


def acquire_for_slice(session: Session) -> JobAssignment:
    """Acquire a job that then runs for a slice while a job of another project waits."""
    make_job(session, make_project(session))
    assignment = acquire(session)
    assert assignment is not None
    make_job(session, make_project(session))
    pass_time(session, SLICE)
    session.execute(text("UPDATE job_leases SET lease_until = lease_until + interval '1 hour'"))
    return assignment


class TestTrainedTime:
    def test_all_attempts_add_up(self, session: Session) -> None:
        make_job(session, make_project(session))
        for _ in range(2):
            assignment = acquire(session)
            assert assignment is not None
            pass_time(session, 100)
            attempt_outcomes.yield_job(session, assignment.job_id, assignment.attempt)
        following = acquire(session)
        assert following is not None
        assert following.trained_seconds == pytest.approx(200, abs=30)

    def test_the_time_after_the_last_heartbeat_of_a_lost_attempt_does_not_count(
        self, session: Session
    ) -> None:
        make_job(session, make_project(session))
        assignment = acquire(session)
        assert assignment is not None
        pass_time(session, 1000)
        session.execute(
            text("UPDATE job_leases SET heartbeat_at = clock_timestamp() - interval '900 s'")
        )
        row = session.get_one(Job, assignment.job_id)
        attempt_outcomes.retry_or_fail(
            session, row, outcome=attempt_outcomes.AttemptOutcome.LOST, reason="Lost."
        )
        session.refresh(row)
        assert row.trained_seconds == pytest.approx(100, abs=30)
