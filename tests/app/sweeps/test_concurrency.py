"""Sweeps after crashes, and with two processes at once: no job is lost, and none is made twice."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import text

from app.db.session import transaction
from app.db.tables import (
    TrialState,
)
from app.errors import InvalidRequest
from app.sweeps import lifecycle as sweep_lifecycle
from tests.app.sweeps.desk import Desk, desk, of_one, rate

__all__ = ["desk"]


class TestConcurrency:
    def test_two_processes_create_each_job_once(self, desk: Desk) -> None:
        space = {"lora_rank": {"values": list(range(1, 17))}}
        sweep_id = desk.create(space=space)
        for _ in range(4):
            desk.train(of_one)
            self._advance_at_once(desk, sweep_id, 4)
        trials = desk.trials(sweep_id)
        assert len({trial.job_id for trial in trials}) == len(trials) == desk.jobs() == 16
        assert desk.sweep(sweep_id).state == "succeeded"
        assert sum(event.startswith("The best") for event in desk.events(sweep_id)) == 1

    def _advance_at_once(self, desk: Desk, sweep_id: str, processes: int) -> None:
        barrier = Barrier(processes)

        def run(_: int) -> None:
            barrier.wait(30)
            desk.advance(sweep_id)

        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(run, range(processes)))

    @pytest.mark.parametrize("table", ["job_events", "jobs", "sweep_events", "sweep_trials"])
    def test_a_crash_loses_and_doubles_nothing(self, desk: Desk, table: str) -> None:
        """The transaction breaks at the write to one of the tables; the next advance does all."""
        space = {"lora_rank": {"values": list(range(1, 7))}}
        sweep_id = desk.create(space=space)
        desk.train(of_one)
        function = "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$"
        trigger = f"CREATE TRIGGER crash BEFORE INSERT OR UPDATE ON {table}"
        with transaction(desk.sessions) as session:
            session.execute(text(f"{function} BEGIN RAISE 'crash'; END $$"))
            session.execute(text(f"{trigger} FOR EACH ROW EXECUTE FUNCTION crash()"))
        with pytest.raises(Exception, match="crash"):
            desk.advance(sweep_id)
        with transaction(desk.sessions) as session:
            session.execute(text("DROP FUNCTION crash CASCADE"))
        assert desk.jobs() == 4
        assert [trial.state for trial in desk.trials(sweep_id)] == ["running"] * 4 + ["pending"] * 2
        desk.advance(sweep_id)
        assert desk.jobs() == 6
        desk.train(of_one)
        desk.advance(sweep_id)
        assert desk.sweep(sweep_id).state == "succeeded"

    def test_cancelling_and_advancing_at_once_leaves_no_job_behind(self, desk: Desk) -> None:
        space = {"lora_rank": {"values": list(range(1, 13))}}
        sweep_id = desk.create(space=space)
        desk.train(of_one)
        barrier = Barrier(2)

        def cancel() -> None:
            barrier.wait(30)
            with transaction(desk.sessions) as session:
                sweep_lifecycle.cancel(session, desk.project_id, sweep_id)

        def go_on() -> None:
            barrier.wait(30)
            desk.advance(sweep_id)

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(cancel), pool.submit(go_on)]:
                future.result(60)
        assert desk.sweep(sweep_id).state == "cancelled"
        assert desk.train(of_one) == 0
        assert TrialState.PENDING not in {trial.state for trial in desk.trials(sweep_id)}
        desk.advance(sweep_id)
        assert desk.sweep(sweep_id).state == "cancelled"

    def test_an_ended_sweep_cannot_be_cancelled(self, desk: Desk) -> None:
        sweep_id = desk.create()
        desk.train(rate)
        desk.advance(sweep_id)
        with (
            pytest.raises(InvalidRequest, match="already succeeded"),
            transaction(desk.sessions) as session,
        ):
            sweep_lifecycle.cancel(session, desk.project_id, sweep_id)
