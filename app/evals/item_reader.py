"""Items of a run: divided into ranges when it begins, and read range by range."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import ARRAY, ColumnElement, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.orm import Session, defer

from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.db.tables import Eval, EvalRun, File, StoredCompletion
from app.evals.run_sources import (
    MAX_ITEMS,
    DataSource,
    Sampling,
    StoredCompletionsSource,
    find_sampling,
)
from app.formats.lines import read_lines
from app.storage import ObjectStore
from app.stored_completions import service as stored_completions
from app.stored_completions.service import CompletionFilter
from app.work.kinds import LeaseLost, PlannedRange, RangeClaim

# What one process takes over from another that was killed, and what is listed together.
RANGE_ITEMS = 20
MAX_LINE_BYTES = 2**20
DATA_SOURCE: TypeAdapter[DataSource] = TypeAdapter(DataSource)
# Stands for an item that is not stored any more.
GONE = b""


class SourceFault(Exception):
    """A source that no run can be made of; the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ItemReader:
    """Reads the items of runs. Its methods raise LeaseLost for a deleted run."""

    def __init__(self, sessions: SessionMaker, store: ObjectStore, catalog: Catalog) -> None:
        self._sessions = sessions
        self._store = store
        self._catalog = catalog

    def plan(self, run_id: str) -> list[PlannedRange]:
        """Divide the items into ranges. Raises SourceFault."""
        with transaction(self._sessions) as session:
            run = get_run(session, run_id)
            source = run.data_source["source"]
            if source["type"] == "stored_completions":
                return _plan_stored(session, self._catalog, run)
            if source["type"] == "file_content":
                return _divide([{"offset": n} for n in range(len(source["content"]))])
        places = (place for place, _ in self._read_all(run_id))
        try:
            return _divide([{"offset": place} for place in islice(places, MAX_ITEMS + 1)])
        except FileNotFoundError as error:
            reason = "The content of the file of items is no longer stored."
            raise SourceFault("invalid_file", reason) from error

    def read(self, claim: RangeClaim) -> dict[int, bytes | None]:
        """Read the items of a range, each as a line; None is one that was too long."""
        indexes = range(claim.first_index, claim.end_index)
        if "ids" in claim.source:
            lines = self._read_stored(claim.project_id, claim.source["ids"])
        else:
            lines = self._read_lines(claim)
        return dict.fromkeys(indexes, GONE) | dict(zip(indexes, lines, strict=False))

    def _read_lines(self, claim: RangeClaim) -> list[bytes | None]:
        count, start = claim.end_index - claim.first_index, claim.source["offset"]
        with transaction(self._sessions) as session:
            run = get_run_without_source(session, claim.list_id)
            if run.file_id is None:
                content = _slice_content(session, run.id, start, start + count)
                return [orjson.dumps(row) for row in content]
        try:
            return [line for _, line in islice(self._read_all(claim.list_id, start), count)]
        except FileNotFoundError:
            return []

    def _read_all(self, run_id: str, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
        """Read the items of a file from an offset on, each with its own."""
        with transaction(self._sessions) as session:
            file = session.get_one(File, get_run_without_source(session, run_id).file_id)
        chunks = self._store.chunks(file.storage_key, start=start)
        lines = read_lines(chunks, max_line_bytes=MAX_LINE_BYTES)
        yield from ((offset, line) for _, offset, line in lines if line is None or line.strip())

    def _read_stored(self, project_id: str, ids: Sequence[str]) -> list[bytes | None]:
        with transaction(self._sessions) as session:
            rows = session.scalars(
                stored_completions.select_of(project_id).where(StoredCompletion.id.in_(ids))
            ).all()
            texts = (StoredCompletion.request, StoredCompletion.response)
            stored_completions.load(session, project_id, list(rows), *texts)
            lines = {row.id: _build_line(row) for row in rows}
        return [lines.get(id, GONE) for id in ids]


def get_run(session: Session, run_id: str) -> EvalRun:
    """Get a run. Raises LeaseLost for a deleted one."""
    run = session.get(EvalRun, run_id)
    if run is None or run.deleted_at is not None:
        raise LeaseLost
    return run


def get_run_without_source(session: Session, run_id: str) -> EvalRun:
    """Get a run but for its `data_source`, which has all items. Raises LeaseLost."""
    statement = select(EvalRun).where(EvalRun.id == run_id, EvalRun.deleted_at.is_(None))
    run = session.scalars(statement.options(defer(EvalRun.data_source))).one_or_none()
    if run is None:
        raise LeaseLost
    return run


def read_sampling(session: Session, run_id: str) -> Sampling | None:
    """Read how a run samples its model, without the items in its request."""
    without_items = EvalRun.data_source.op("#-")(cast(["source"], ARRAY(Text)))
    document = session.scalars(select(without_items).where(EvalRun.id == run_id)).one()
    # The source is not read, but is a field that all have.
    placeholder = {"type": "file_id", "id": "none"}
    return find_sampling(DATA_SOURCE.validate_python({**document, "source": placeholder}))


def _slice_content(session: Session, run_id: str, first: int, end: int) -> list[Any]:
    path = cast(f"$.source.content[{first} to {end - 1}]", JSONPATH)
    content = func.jsonb_path_query_array(EvalRun.data_source, path, type_=JSONB)
    rows: list[Any] = session.scalars(select(content).where(EvalRun.id == run_id)).one()
    return rows


def _divide(places: Sequence[dict[str, Any]]) -> list[PlannedRange]:
    """Divide items, each with its place, into ranges. Raises SourceFault."""
    count = len(places)
    if count > MAX_ITEMS:
        raise SourceFault("too_many_items", f"A run has at most {MAX_ITEMS:,} items; make several.")
    if not count:
        raise SourceFault("invalid_file", "The file has no items.")
    return [
        PlannedRange(first, min(first + RANGE_ITEMS, count), places[first])
        for first in range(0, count, RANGE_ITEMS)
    ]


def _plan_stored(session: Session, catalog: Catalog, run: EvalRun) -> list[PlannedRange]:
    ids = run.completion_ids
    if ids is None:
        ids = choose_completions(session, catalog, run)
    if not ids:
        raise SourceFault("no_items", "No stored completion matches the source.")
    return [
        PlannedRange(first, first + len(part), {"ids": part})
        for first in range(0, len(ids), RANGE_ITEMS)
        if (part := list(ids[first : first + RANGE_ITEMS]))
    ]


def choose_completions(session: Session, catalog: Catalog, run: EvalRun) -> list[str]:
    """Choose the completions that match the source of a run now; their ids, oldest first."""
    source = StoredCompletionsSource.model_validate(run.data_source["source"])
    parent = session.get_one(Eval, run.eval_id)
    model = stored_completions.resolve_name(session, catalog, run.project_id, source.model)
    chosen = CompletionFilter(model, source.metadata or {})
    of_eval = CompletionFilter(None, parent.data_source_config.get("metadata") or {})
    newest = (
        select(StoredCompletion.id)
        .where(
            StoredCompletion.project_id == run.project_id,
            *chosen.conditions(),
            *of_eval.conditions(),
            *_between(source),
        )
        .order_by(StoredCompletion.created_at.desc(), StoredCompletion.id.desc())
        .limit(source.limit or MAX_ITEMS)
    )
    return list(session.scalars(newest).all()[::-1])


def _between(source: StoredCompletionsSource) -> Iterator[ColumnElement[bool]]:
    created_at = StoredCompletion.created_at
    if source.created_after is not None:
        yield created_at >= datetime.fromtimestamp(source.created_after, UTC)
    if source.created_before is not None:
        yield created_at < datetime.fromtimestamp(source.created_before + 1, UTC)


def _build_line(row: StoredCompletion) -> bytes:
    """Build the line of a completion: its request is the item, its answer the sample."""
    request, response = orjson.loads(row.request), orjson.loads(row.response)
    message = response["choices"][0]["message"]
    text = message.get("content") or ""
    item = {
        "input": request["messages"],
        "output": text,
        "model": row.model,
        "metadata": row.user_metadata,
    }
    sample = {
        "output_text": text,
        "output_tools": message.get("tool_calls") or [],
        "choices": response["choices"],
    }
    return orjson.dumps({"item": item, "sample": sample})
