"""Batches as a kind of work: input is checked, answered range by range, and filed in order."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import delete, func, select

from app import logs
from app.batches import ending
from app.batches.endpoints import BATCH_ENDPOINTS
from app.batches.input import CheckedInput, InputError, check, parse_line
from app.batches.output import EXPIRED, ResultFile, build_error_line, join_lines, split_part
from app.batches.requests import BatchRange
from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.db.tables import Batch, BatchState, File, WorkRange, WorkResult, WorkStop
from app.errors import ApiError, StorageQuotaExceeded
from app.files import quota
from app.formats.lines import read_lines
from app.inference.endpoints import Endpoint
from app.inference.engines import EngineClient
from app.inference.unattended_requests import EngineFailures
from app.models import registry
from app.models.registry import ResolvedModel
from app.monitoring.recorder import TrafficRecorder
from app.settings import Settings
from app.storage import ObjectStore, work_part_key
from app.work import leases, lists
from app.work.kinds import ItemPostponed, LeaseLost, ListClaim, RangeClaim

log = logs.get_logger(__name__)

MAX_IN_FLIGHT = 8
LOST_INPUT = InputError("invalid_file", "The content of the input file is no longer stored.")


@dataclass(frozen=True, slots=True)
class _Input:
    """Place of a batch's requests, and their endpoint."""

    key: str
    endpoint: Endpoint
    model: str | None


class BatchWork:
    """The kind of work of batches: a `WorkKind`."""

    max_in_flight = MAX_IN_FLIGHT

    def __init__(
        self,
        settings: Settings,
        sessions: SessionMaker,
        store: ObjectStore,
        catalog: Catalog,
        engines: EngineClient,
        recorder: TrafficRecorder,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._catalog = catalog
        self._engines = engines
        self._recorder = recorder
        self._engine_failures = EngineFailures()

    def plan(self, claim: ListClaim) -> None:
        """Check the input; the batch fails if there are errors."""
        source = self._find_input(claim.list_id)
        try:
            max_bytes = self._settings.max_body_bytes
            lines = read_lines(self._store.chunks(source.key), max_line_bytes=max_bytes)
            found = check(
                lines,
                source.endpoint,
                max_line_bytes=max_bytes,
                is_built_in=partial(self._is_built_in, claim.project_id, source.endpoint),
            )
        except FileNotFoundError:
            found = CheckedInput(errors=[LOST_INPUT])
        if not found.errors and found.model is not None:
            model = self._resolve(claim.project_id, found.model, source.endpoint)
            if isinstance(model, ApiError):
                code = model.error_code or "invalid_request"
                found.errors.append(InputError(code, model.message, 1, "body.model"))
            else:
                # Not the alias, which may stand for another model tomorrow.
                found.model = model.name
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            batch = session.get_one(Batch, claim.list_id, with_for_update=True)
            batch.model = found.model
            if found.errors:
                batch.errors = [error.to_json() for error in found.errors]
                ending.end(session, batch, BatchState.FAILED)
                return
            batch.num_requests = found.num_requests
            batch.state, batch.in_progress_at = BatchState.IN_PROGRESS, func.clock_timestamp()
            lists.start(session, claim.list_id, found.ranges)

    def _is_built_in(self, project_id: str, endpoint: Endpoint, name: str) -> bool:
        """True if the built-in engine answers for the model; false also for an unknown one."""
        model = self._resolve(project_id, name, endpoint)
        return isinstance(model, ResolvedModel) and model.base.engine is None

    def open_range(self, claim: RangeClaim) -> BatchRange:
        source = self._find_input(claim.list_id)
        assert source.model is not None
        return BatchRange(
            self._engines,
            self._recorder,
            batch_id=claim.list_id,
            project_id=claim.project_id,
            endpoint=source.endpoint,
            model=self._resolve(claim.project_id, source.model, source.endpoint),
            lines=self._read_range(source, claim.first_index, claim.end_index, claim.source),
            engine_failures=self._engine_failures,
        )

    def close_range(self, claim: RangeClaim) -> None:
        """Store the lines of a range, whose rows go."""
        with transaction(self._sessions) as session:
            results = leases.list_results(
                session, claim.list_id, claim.first_index, claim.end_index
            )
        part, split_at = join_lines([(each.is_success, each.body) for each in results])
        key = work_part_key(
            claim.project_id, claim.list_id, claim.first_index, f"attempt-{claim.attempt}"
        )
        self._store.put(key, part)
        try:
            with transaction(self._sessions) as session:
                row = leases.finish_range(session, claim)
                reservation = quota.reserve(
                    session, claim.project_id, self._settings, size=len(part), files=0
                )
                reservation.check(len(part))
                row.storage_key, row.bytes, row.split_at = key, len(part), split_at
                session.execute(delete(WorkResult).where(*leases.is_in_range(claim)))
                quota.release(session, reservation)
        except StorageQuotaExceeded as error:
            self._stop(claim, error)

    def _stop(self, claim: RangeClaim, error: ApiError) -> None:
        with transaction(self._sessions) as session:
            if not lists.stop(session, claim.list_id, WorkStop.FAILED):
                raise LeaseLost
            batch = session.get_one(Batch, claim.list_id, with_for_update=True)
            code = error.error_code or "server_error"
            batch.errors = [InputError(code, error.message).to_json()]

    def finish(self, claim: ListClaim) -> None:
        """Write the output and error files, in the order of the input."""
        source = self._find_input(claim.list_id)
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            batch = session.get_one(Batch, claim.list_id, with_for_update=True)
            if claim.stop_reason is None:
                batch.state, batch.finalizing_at = BatchState.FINALIZING, func.clock_timestamp()
            session.flush()
            session.refresh(batch)
            ranges = session.scalars(
                select(WorkRange)
                .where(WorkRange.list_id == claim.list_id)
                .order_by(WorkRange.first_index)
            ).all()
        with ExitStack() as stack:
            output, errors = (ResultFile(self._store, stack, claim.project_id) for _ in range(2))
            num_expired = 0
            for row in ranges:
                for is_success, data in self._read_results(claim, source, row):
                    (output if is_success else errors).write(data)
                if claim.stop_reason == WorkStop.EXPIRED:
                    num_expired += row.end_index - row.first_index - row.succeeded - row.failed
        files = output.build_row(batch, "output"), errors.build_row(batch, "error")
        with transaction(self._sessions) as session:
            work_list = leases.lock_list(session, claim)
            batch = session.get_one(Batch, claim.list_id, with_for_update=True)
            if work_list.stop_message is not None:
                batch.errors = [InputError("server_error", work_list.stop_message).to_json()]
            ending.file_results(session, batch, *files)
            ending.end(
                session, batch, ending.find_state(claim.stop_reason), num_expired=num_expired
            )

    def give_up(self, claim: ListClaim, message: str) -> None:
        with transaction(self._sessions) as session:
            leases.lock_list(session, claim)
            batch = session.get_one(Batch, claim.list_id, with_for_update=True)
            batch.errors = [InputError("server_error", message).to_json()]
            ending.end(session, batch, BatchState.FAILED)

    def _read_results(
        self, claim: ListClaim, source: _Input, row: WorkRange
    ) -> Iterator[tuple[bool, bytes]]:
        """Read the lines of a range, those of success first, each in order."""
        if row.storage_key is not None:
            try:
                chunks = self._store.chunks(row.storage_key) if row.bytes else iter(())
            except FileNotFoundError:
                log.error("batch.part_lost", batch=claim.list_id, key=row.storage_key)
                with transaction(self._sessions) as session:
                    leases.reopen_range(session, claim, row.first_index)
                raise LeaseLost from None
            yield from split_part(chunks, row.split_at)
            return
        with transaction(self._sessions) as session:
            results = leases.list_results(session, claim.list_id, row.first_index, row.end_index)
        lines = {each.index: (each.is_success, each.body) for each in results}
        if claim.stop_reason == WorkStop.EXPIRED:
            lines |= self._build_expired(claim, source, row, lines)
        yield from (lines[index] for index in sorted(lines))

    def _build_expired(
        self, claim: ListClaim, source: _Input, row: WorkRange, done: Mapping[int, Any]
    ) -> dict[int, tuple[bool, bytes]]:
        """Build the lines of the requests that have no result."""
        with suppress(FileNotFoundError):
            lines = self._read_range(source, row.first_index, row.end_index, row.source)
            return {
                index: (False, build_error_line(claim.list_id, index, custom_id, EXPIRED))
                for index, custom_id in (
                    (index, parse_line(line, source.endpoint).custom_id)
                    for index, line in lines.items()
                    if index not in done
                )
            }
        return {}

    def _find_input(self, batch_id: str) -> _Input:
        with transaction(self._sessions) as session:
            batch = session.get(Batch, batch_id)
            if batch is None:
                raise LeaseLost
            endpoint = BATCH_ENDPOINTS.get(batch.endpoint)
            if endpoint is None:
                # It is of a newer version, whose processes do it.
                raise ItemPostponed
            file = session.get_one(File, batch.input_file_id)
            return _Input(file.storage_key, endpoint, batch.model)

    def _read_range(
        self, source: _Input, first: int, end: int, place: Mapping[str, Any]
    ) -> dict[int, bytes]:
        chunks = self._store.chunks(source.key, start=place["offset"])
        lines = read_lines(chunks, max_line_bytes=self._settings.max_body_bytes)
        return {
            first + number: line or b""
            for number, (_, _, line) in enumerate(islice(lines, end - first))
        }

    def _resolve(self, project_id: str, name: str, endpoint: Endpoint) -> ResolvedModel | ApiError:
        """Find the model; its error if there is none, which is then that of each request."""
        try:
            with transaction(self._sessions) as session:
                return registry.resolve(
                    session, self._catalog, project_id, name, task=endpoint.task
                )
        except ApiError as error:
            return error
