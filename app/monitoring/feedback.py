"""Feedback: the true labels of classified texts, reported by users after the fact."""

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
    items: Sequence[FeedbackItem],
) -> int:
    """Store all items or none; return the number that changed something.

    Repeated feedback changes nothing; different feedback on a text replaces the earlier feedback.
    Raises NotFound or InvalidRequest.
    """
    job = report.get_training_job(session, catalog, project_id, name)
    baseline = report.find_drift_baseline(job)
    if baseline is None or baseline.method != "classification":
        raise InvalidRequest(
            f"Labels are only accepted for classifiers. `{name}` is not one, or was trained by a "
            "version of Luthier that did not record its labels. For answers of chat models give a "
            "'rating' or a 'correction'.",
            param="model",
        )
    predictions = _lock_predictions(session, name, {item.id for item in items})
    changes: dict[tuple[str, datetime], TrafficCounts] = {}
    changed = 0
    seen: set[tuple[str, int]] = set()
    # Once, not per item: a model may have thousands of labels.
    indexes = {label: index for index, label in enumerate(baseline.labels)}
    for number, item in enumerate(items):
        param = f"feedback[{number}]"
        prediction = _get_prediction(predictions, item, param)
        true = _parse_label_indexes(baseline, indexes, item, param)
        # A prediction has two ids.
        if (text := (prediction.request_id, item.index)) in seen:
            raise InvalidRequest(
                f"The text {item.index} of '{item.id}' has several items. Give it one.",
                param=f"{param}.id",
            )
        seen.add(text)
        before = prediction.true_labels[item.index]
        if before == true:
            continue
        hour = prediction.created_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        counts = changes.setdefault((name, hour), {})
        predicted = prediction.predicted_labels[item.index]
        if before is not None:
            classification_metrics.count_prediction(counts, predicted, before, -1)
        classification_metrics.count_prediction(counts, predicted, true)
        # A new list, since SQLAlchemy does not detect changes inside a JSON value.
        updated = list(prediction.true_labels)
        updated[item.index] = true
        prediction.true_labels = updated
        changed += 1
    traffic.add_to_hourly_counts(session, changes)
    return changed


def _lock_predictions(session: Session, name: str, ids: set[str]) -> dict[str, Prediction]:
    """Find predictions by either of their ids, locked so that feedback on a text counts once."""
    rows = session.scalars(
        select(Prediction)
        .where(
            Prediction.model == name,
            or_(Prediction.request_id.in_(ids), Prediction.response_id.in_(ids)),
        )
        .order_by(Prediction.request_id)
        .with_for_update()
    ).all()
    by_id = {row.request_id: row for row in rows}
    return by_id | {row.response_id: row for row in rows if row.response_id is not None}


def _get_prediction(
    predictions: Mapping[str, Prediction], item: FeedbackItem, param: str
) -> Prediction:
    prediction = predictions.get(item.id)
    if prediction is None:
        raise NotFound(
            f"No response of this model with the id '{item.id}' is known. Responses are kept for "
            f"{traffic.PREDICTIONS_RETENTION.days} days, and become known a few seconds after they "
            "were sent.",
            param=f"{param}.id",
        )
    texts = len(prediction.predicted_labels)
    if item.index >= texts:
        raise InvalidRequest(
            f"The request '{item.id}' had {texts} text(s); indexes start at 0.",
            param=f"{param}.index",
        )
    return prediction


def _parse_label_indexes(
    baseline: DriftBaseline, indexes: Mapping[str, int], item: FeedbackItem, param: str
) -> list[int]:
    """Convert the true labels to sorted label indexes."""
    param = f"{param}.{'labels' if item.label is None else 'label'}"
    if not baseline.multi_label and len(item.true_labels) != 1:
        raise InvalidRequest("Each text has exactly one label for this model.", param=param)
    for label in item.true_labels:
        if label not in indexes:
            message = "Unknown label {!r}. The monitoring report of this model lists its labels."
            raise InvalidRequest(message.format(label[:100]), param=param)
    return sorted({indexes[label] for label in item.true_labels})
