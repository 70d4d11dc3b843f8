"""Eval runs as a kind of work: items are counted, done range by range, and summed up."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.catalog import Catalog
from app.cpu_pool.pool import CpuPool
from app.db.session import SessionMaker, transaction
from app.db.tables import Eval, EvalOutputItem, EvalRun, EvalRunState, File, WorkResult, WorkStop
from app.errors import ApiError, StorageQuotaExceeded
from app.evals import ending, totals
from app.evals.criteria import TestingCriterion
from app.evals.judges import list_judges
from app.evals.range_run import EvalRange, RangeContext
from app.evals.run_schemas import MAX_ITEMS, CompletionsDataSource
from app.files import quota
from app.formats.lines import read_lines
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
# What one process takes over from another that was killed, and what is listed together.
RANGE_ITEMS = 20
MAX_LINE_BYTES = 2**20
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
        self._store = store
        self._catalog = catalog
        self._engines = engines
        self._recorder = recorder
        self._pool = pool
        self._engine_failures = EngineFailures()

    def plan(self, claim: ListClaim) -> None:
        """Count the items; the run fails if there are none, or too many."""
        ranges: list[PlannedRange] = []
        count, error = 0, None
        try:
            for offset, _ in self._read_all(claim.list_id):
                if count % RANGE_ITEMS == 0:
                    ranges.append(PlannedRange(count, count + RANGE_ITEMS, {"offset": offset}))
                count += 1
                if count > MAX_ITEMS:
                    break
        except FileNotFoundError:
            error = ("invalid_file", "The content of the file of items is no longer stored.")
        if count > MAX_ITEMS:
            error = ("too_many_items", f"A run has at most {MAX_ITEMS:,} items; make several.")
        elif not count and error is None:
            error = ("invalid_file", "The file has no items.")
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            run = session.get_one(EvalRun, claim.list_id, with_for_update=True)
            if error is not None:
                ending.end(session, run, EvalRunState.FAILED, error=error)
                return
            run.num_items, run.state = count, EvalRunState.IN_PROGRESS
            last = ranges[-1]
            ranges[-1] = PlannedRange(last.first_index, count, last.source)
            lists.start(session, claim.list_id, ranges)

    def open_range(self, claim: RangeClaim) -> EvalRange:
        with transaction(self._sessions) as session:
            run = self._get_run(session, claim.list_id)
            parent = session.get_one(Eval, run.eval_id)
            summed = totals.sum_ranges(session, [run.id])[run.id]
        criteria = CRITERIA.validate_python(parent.testing_criteria)
        source = _read_source(run)
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
            source=source,
            model=None if source is None else self._resolve(claim, run.model, ModelTask.CHAT),
            judges={name: self._resolve(claim, name, ModelTask.JUDGE) for name in names},
            encoder=find_encoder(self._catalog),
            stored_bytes=summed[totals.BYTES],
        )
        return EvalRange(context, self._read_range(claim))

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

    def _get_run(self, session: Session, run_id: str) -> EvalRun:
        run = session.get(EvalRun, run_id)
        if run is None or run.deleted_at is not None:
            raise LeaseLost
        return run

    def _read_all(self, run_id: str, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
        """Read the items from a place on: its number in a request, its offset in a file."""
        with transaction(self._sessions) as session:
            run = self._get_run(session, run_id)
            file = None if run.file_id is None else session.get_one(File, run.file_id)
            source = run.data_source["source"]
        if file is None:
            content = source["content"][start:]
            yield from ((start + n, orjson.dumps(row)) for n, row in enumerate(content))
            return
        chunks = self._store.chunks(file.storage_key, start=start)
        lines = read_lines(chunks, max_line_bytes=MAX_LINE_BYTES)
        yield from ((offset, line) for _, offset, line in lines if line is None or line.strip())

    def _read_range(self, claim: RangeClaim) -> dict[int, bytes | None]:
        count = claim.end_index - claim.first_index
        try:
            lines = list(islice(self._read_all(claim.list_id, claim.source["offset"]), count))
        except FileNotFoundError:
            lines = []
        read: dict[int, bytes | None] = dict.fromkeys(range(claim.first_index, claim.end_index))
        return read | {claim.first_index + n: line for n, (_, line) in enumerate(lines)}

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
    return [
        {
            "id": ids.output_item_id(),
            "run_id": run_id,
            "project_id": project_id,
            "index": each.index,
            "status": orjson.loads(each.body)["status"],
            "content": each.body,
            "bytes": len(each.body),
        }
        for each in leases.list_results(session, run_id, first, end)
    ]


def file_items(session: Session, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert output items; the results of which they are made go."""
    if not rows:
        return
    session.execute(insert(EvalOutputItem).values(rows).on_conflict_do_nothing())
    indexes = [row["index"] for row in rows]
    session.execute(
        delete(WorkResult).where(WorkResult.list_id == run_id, WorkResult.index.in_(indexes))
    )


def _read_source(run: EvalRun) -> CompletionsDataSource | None:
    """Read how a run's model is sampled; None if the items bring their samples."""
    if run.data_source["type"] != "completions":
        return None
    return CompletionsDataSource.model_validate(run.data_source)
