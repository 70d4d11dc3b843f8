"""Answers to rows of a job's test file, kept until the job has ended, and what they amount to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.tables import EventLevel, JobTestAnswer
from app.jobs import states
from app.jobs.events import NewEvent

# Metrics in the order of an event's sentence, and what they are called there.
LABELS = {
    "exact_match": "exact match",
    "f1": "F1",
    "token_f1": "token F1",
    "json_valid": "valid JSON",
    "json_field_match": "JSON fields",
    "bleu": "BLEU",
    "chrf": "chrF",
}
# Not a metric, though a number.
NUM_JSON_ROWS = "json_rows"
# The two models of a comparison, as results name them.
MODELS = ("base", "tuned")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer that a model (`base` or `tuned`) gave to a row of the test file.

    `origin` is a digest of the weights and prompts that it was generated with.
    """

    model: str
    row: int
    origin: str
    text: str


def record(session: Session, job_id: str, attempt: int, answers: Sequence[StoredAnswer]) -> None:
    """Store answers. One that is stored already stays, unless it has another origin: a job whose
    data begins again is trained to other weights. Raises LeaseLost.
    """
    job = states.lock_for_attempt(session, job_id, attempt)
    # Postgres' texts cannot contain U+0000, which a model may write.
    rows = {
        (answer.model, answer.row): asdict(answer)
        | {"job_id": job_id, "text": answer.text.replace("\0", "\ufffd")}
        for answer in answers
    }
    statement = insert(JobTestAnswer).values(list(rows.values()))
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "model", "row"],
            set_={"origin": new.origin, "text": new.text},
            where=JobTestAnswer.origin != new.origin,
        )
    )
    # An answer is progress: earlier crashes no longer count.
    job.no_progress_attempts = 0


def list_all(session: Session, job_id: str) -> list[StoredAnswer]:
    """List the stored answers of a job."""
    rows = session.scalars(select(JobTestAnswer).where(JobTestAnswer.job_id == job_id))
    return [StoredAnswer(row.model, row.row, row.origin, row.text) for row in rows]


def delete_all(session: Session, job_id: str) -> None:
    """Delete the answers of a job that has ended."""
    session.execute(delete(JobTestAnswer).where(JobTestAnswer.job_id == job_id))


def build_event(results: Mapping[str, Any]) -> NewEvent:
    """Build the event that tells the results of the test file."""
    if "error" in results:
        message = f"The test file could not be measured. {results['error']}"
        return NewEvent("test", message, level=EventLevel.WARN)
    parts = [
        f"{model} model: {_describe(results[model])}" for model in MODELS if model in results
    ] or [_describe(results)]
    rows = f"{results.get('measured_rows', results.get('rows'))} of {results.get('rows')}"
    return NewEvent("test", f"Test file, {rows} rows: {'; '.join(parts)}")


def _describe(metrics: Mapping[str, Any]) -> str:
    known = [name for name in LABELS if name in metrics]
    others = {name for name, value in metrics.items() if type(value) is float}
    names = [*known, *sorted(others - {*known, NUM_JSON_ROWS})]
    return ", ".join(f"{LABELS.get(name, name)} {metrics[name]:.4g}" for name in names)
