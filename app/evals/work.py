"""Eval runs as a kind of work: items are counted, done range by range, and summed up."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import delete, null
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.catalog import Catalog
from app.cpu_pool.pool import CpuPool
from app.db.session import SessionMaker, transaction
from app.db.tables import Eval, EvalOutputItem, EvalRun, EvalRunState, WorkResult, WorkStop
from app.errors import ApiError, StorageQuotaExceeded
from app.evals import data_sources, ending, item_scores, totals
from app.evals.criteria import TestingCriterion
from app.evals.item_reader import (
    RANGE_ITEMS,
    ItemReader,
    SourceFault,
    get_run_without_source,
    read_sampling,
)
from app.evals.judges import list_judges
from app.evals.range_run import EvalRange, RangeContext
from app.files import quota
from app.graders.model_calls import find_encoder
from app.inference.engines import EngineClient
from app.inference.unattended_requests import EngineFailures, UnattendedRequests
from app.models import registry
from app.models.registry import ModelTask
from app.monitoring.recorder import TrafficRecorder
from app.settings import Settings
from app.storage import ObjectStore
from app.work import leases, lists
from app.work.kinds import LeaseLost, ListClaim, PlannedRange, RangeClaim

MAX_IN_FLIGHT = 8
EXPIRED = ("run_expired", "The run did not end within 24 hours. What it had until then is kept.")
CRITERIA: TypeAdapter[list[TestingCriterion]] = TypeAdapter(list[TestingCriterion])


class EvalRunWork:
    """The kind of work of eval runs: a `WorkKind`."""

    max_in_flight = MAX_IN_FLIGHT

    def __init__(
        self,
        settings: Settings,
        sessions: SessionMaker,
        store: ObjectStore,
        catalog: Catalog,
        engines: EngineClient,
        recorder: TrafficRecorder,
        pool: CpuPool,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._reader = ItemReader(sessions, store, catalog)
        self._catalog = catalog
        self._engines = engines
        self._recorder = recorder
        self._pool = pool
        self._engine_failures = EngineFailures()

    def plan(self, claim: ListClaim) -> None:
        """Count the items; the run fails if there are none, or too many."""
        ranges: list[PlannedRange] = []
        error = None
        try:
            ranges = self._reader.plan(claim.list_id)
        except SourceFault as fault:
            error = (fault.code, str(fault))
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            run = session.get_one(EvalRun, claim.list_id, with_for_update=True)
            if error is not None:
                ending.end(session, run, EvalRunState.FAILED, error=error)
                return
            run.num_items, run.state = ranges[-1].end_index, EvalRunState.IN_PROGRESS
            run.completion_ids = null()
            lists.start(session, claim.list_id, ranges)

    def open_range(self, claim: RangeClaim) -> EvalRange:
        with transaction(self._sessions) as session:
            run = get_run_without_source(session, claim.list_id)
            sampling = read_sampling(session, run.id)
            parent = session.get_one(Eval, run.eval_id)
            summed = totals.sum_ranges(session, [run.id])[run.id]
        config = parent.data_source_config
        criteria = CRITERIA.validate_python(parent.testing_criteria)
        names = {name for each in criteria for _, name in list_judges(each, "")}
        context = RangeContext(
            run_id=run.id,
            project_id=claim.project_id,
            requests=UnattendedRequests(
                self._engines, self._recorder, claim.project_id, self._engine_failures
            ),
            pool=self._pool,
            criteria=criteria,
            criterion_ids=[each["id"] for each in parent.testing_criteria],
            sampling=sampling,
            item_schema=data_sources.get_item_schema(config) if run.file_id is not None else None,
            model_name=run.model,
            model=None if sampling is None else self._resolve(claim, run.model, ModelTask.CHAT),
            judges={name: self._resolve(claim, name, ModelTask.JUDGE) for name in names},
            encoder=find_encoder(self._catalog),
            stored_bytes=summed[totals.BYTES],
        )
        return EvalRange(context, self._reader.read(claim))

    def close_range(self, claim: RangeClaim) -> None:
        """Make output items of the results of a range, whose rows go."""
        try:
            with transaction(self._sessions) as session:
                leases.finish_range(session, claim)
                rows = list_items(
                    session, claim.list_id, claim.project_id, claim.first_index, claim.end_index
                )
                size = sum(row["bytes"] for row in rows)
                reservation = quota.reserve(
                    session, claim.project_id, self._settings, size=size, files=0
                )
                reservation.check(size)
                file_items(session, claim.list_id, rows)
                quota.release(session, reservation)
        except StorageQuotaExceeded as error:
            self._stop(claim, error)

    def _stop(self, claim: RangeClaim, error: ApiError) -> None:
        with transaction(self._sessions) as session:
            if not lists.stop(session, claim.list_id, WorkStop.FAILED, error.message):
                raise LeaseLost
            run = session.get_one(EvalRun, claim.list_id, with_for_update=True)
            run.error_code = error.error_code

    def finish(self, claim: ListClaim) -> None:
        """File what a stopped run has left, and sum up the run."""
        with transaction(self._sessions) as session:
            row = leases.lock_list(session, claim)
            run = session.get_one(EvalRun, claim.list_id, with_for_update=True)
            for first in range(0, run.num_items, RANGE_ITEMS):
                rows = list_items(session, run.id, run.project_id, first, first + RANGE_ITEMS)
                file_items(session, run.id, rows)
            error = None
            if claim.stop_reason == WorkStop.FAILED:
                error = (run.error_code or "server_error", row.stop_message or "The run failed.")
            elif claim.stop_reason == WorkStop.EXPIRED:
                error = EXPIRED
            ending.end(session, run, ending.find_state(claim.stop_reason), error=error)

    def give_up(self, claim: ListClaim, message: str) -> None:
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            run = session.get_one(EvalRun, claim.list_id, with_for_update=True)
            ending.end(
                session, run, EvalRunState.FAILED, error=("server_error", message), measure=False
            )

    def _resolve(self, claim: RangeClaim, name: str, task: ModelTask) -> Any:
        """Find a model; its error if there is none, which is then that of each request."""
        try:
            with transaction(self._sessions) as session:
                return registry.resolve(session, self._catalog, claim.project_id, name, task=task)
        except ApiError as error:
            return error


def list_items(
    session: Session, run_id: str, project_id: str, first: int, end: int
) -> list[dict[str, Any]]:
    """List the output items, as rows to insert, of the results of items `first` to `end`."""
    results = leases.list_results(session, run_id, first, end)
    return [
        {"run_id": run_id, "project_id": project_id, "index": each.index} | _describe(each.body)
        for each in results
    ]


def _describe(body: bytes) -> dict[str, Any]:
    content = orjson.loads(body)
    return {
        "id": ids.output_item_id(),
        "status": content["status"],
        "content": body,
        "bytes": len(body),
        "scores": item_scores.list_scores(content),
    }


def file_items(session: Session, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert output items; the results of which they are made go."""
    if not rows:
        return
    session.execute(insert(EvalOutputItem).values(rows).on_conflict_do_nothing())
    indexes = [row["index"] for row in rows]
    session.execute(
        delete(WorkResult).where(WorkResult.list_id == run_id, WorkResult.index.in_(indexes))
    )
