"""What the labels of answered texts really are, as users tell later."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.db.tables import Prediction
from app.errors import InvalidRequest, NotFound
from app.monitoring import classification_metrics, report, traffic
from app.monitoring.report import DriftBaseline
from app.monitoring.schemas import FeedbackItem
from app.monitoring.traffic import TrafficCounts


def record_feedback(
    session: Session,
    catalog: Catalog,
    project_id: str,
    name: str,
    judgements: Sequence[FeedbackItem],
) -> int:
    """Keep all of it, or nothing; how much of it is new. What is said again changes nothing, what
    is said otherwise replaces what was said. Raises NotFound, InvalidRequest."""
    job = report.get_training_job(session, catalog, project_id, name)
    reference = report.find_drift_baseline(job)
    if reference is None or reference.method != "classification":
        raise InvalidRequest(
            f"Feedback can be given to classifiers; `{name}` is none, or one trained before "
            "Luthier kept what is needed for it.",
            param="model",
        )
    known = _lock_predictions(session, name, {judgement.id for judgement in judgements})
    changes: dict[tuple[str, datetime], TrafficCounts] = {}
    changed = 0
    for number, judgement in enumerate(judgements):
        where = f"feedback[{number}]"
        prediction = _get_prediction(known, judgement, where)
        truth = _label_indexes(reference, judgement, where)
        before = prediction.truth[judgement.index]
        if before == truth:
            continue
        hour = prediction.created_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        tally = changes.setdefault((name, hour), {})
        found = prediction.found[judgement.index]
        if before is not None:
            classification_metrics.count_prediction(tally, found, before, -1)
        classification_metrics.count_prediction(tally, found, truth)
        # A new list: the row is written only if its value is another one.
        given = list(prediction.truth)
        given[judgement.index] = truth
        prediction.truth = given
        changed += 1
    traffic.add_to_hourly_counts(session, changes)
    return changed


def _lock_predictions(session: Session, name: str, ids: set[str]) -> dict[str, Prediction]:
    """The answers by both of their ids, locked: feedback on one text counts once."""
    rows = session.scalars(
        select(Prediction)
        .where(
            Prediction.model == name,
            or_(Prediction.request_id.in_(ids), Prediction.answer_id.in_(ids)),
        )
        .order_by(Prediction.request_id)
        .with_for_update()
    ).all()
    by_id = {row.request_id: row for row in rows}
    return by_id | {row.answer_id: row for row in rows if row.answer_id is not None}


def _get_prediction(
    known: Mapping[str, Prediction], judgement: FeedbackItem, where: str
) -> Prediction:
    prediction = known.get(judgement.id)
    if prediction is None:
        raise NotFound(
            f"No answer of this model is known under the id '{judgement.id}'. Answers are kept for "
            f"{traffic.PREDICTIONS_RETENTION.days} days, and are known some seconds after they were "
            "given.",
            param=f"{where}.id",
        )
    if judgement.index >= len(prediction.found):
        raise InvalidRequest(
            f"The request '{judgement.id}' had {len(prediction.found)} texts, counted from 0.",
            param=f"{where}.index",
        )
    return prediction


def _label_indexes(reference: DriftBaseline, judgement: FeedbackItem, where: str) -> list[int]:
    """The labels as numbers, in their order."""
    param = f"{where}.{'labels' if judgement.label is None else 'label'}"
    if not reference.many and len(judgement.true_labels) != 1:
        raise InvalidRequest("Each text has exactly one label for this model.", param=param)
    places = {label: place for place, label in enumerate(reference.labels)}
    for label in judgement.true_labels:
        if label not in places:
            message = "This model does not know the label {!r}. Its labels are in its monitoring."
            raise InvalidRequest(message.format(label[:100]), param=param)
    return sorted({places[label] for label in judgement.true_labels})
