"""Items of a run: divided into ranges when it begins, and read range by range."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.session import SessionMaker, transaction
from app.db.tables import Eval, EvalRun, File, StoredCompletion
from app.evals.run_sources import MAX_ITEMS, StoredCompletionsSource
from app.formats.lines import read_lines
from app.storage import ObjectStore
from app.stored_completions import service as stored_completions
from app.stored_completions.service import CompletionFilter
from app.work.kinds import LeaseLost, PlannedRange, RangeClaim

# What one process takes over from another that was killed, and what is listed together.
RANGE_ITEMS = 20
MAX_LINE_BYTES = 2**20
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
        count = claim.end_index - claim.first_index
        lines = self._read_all(claim.list_id, claim.source["offset"])
        try:
            return [line for _, line in islice(lines, count)]
        except FileNotFoundError:
            return []

    def _read_all(self, run_id: str, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
        """Read the items from a place on: its number in a request, its offset in a file."""
        with transaction(self._sessions) as session:
            run = get_run(session, run_id)
            file = None if run.file_id is None else session.get_one(File, run.file_id)
            source = run.data_source["source"]
        if file is None:
            content = source["content"][start:]
            yield from ((start + n, orjson.dumps(row)) for n, row in enumerate(content))
            return
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
    source = StoredCompletionsSource.model_validate(run.data_source["source"])
    parent = session.get_one(Eval, run.eval_id)
    chosen = CompletionFilter(
        stored_completions.resolve_name(catalog, source.model), source.metadata or {}
    )
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
    ids = session.scalars(newest).all()[::-1]
    if not ids:
        raise SourceFault("no_items", "No stored completion matches the source.")
    return [
        PlannedRange(first, first + len(part), {"ids": part})
        for first in range(0, len(ids), RANGE_ITEMS)
        if (part := list(ids[first : first + RANGE_ITEMS]))
    ]


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
