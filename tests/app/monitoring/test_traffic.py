"""Traffic counts: summed over processes, bounded in memory and in the database."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import ModelTrafficHour, Prediction
from app.monitoring import traffic
from app.monitoring.traffic import RequestOutcome, ServedRequest, TrafficBatch
from app.wire.engine_metadata import EngineMetadata, parse_header

MODEL = "ft:encoder:acme::Abcd1234"


def make_request(number: int, **changes: object) -> ServedRequest:
    metadata = EngineMetadata(
        response_id=f"classify-{number}",
        tokens=9,
        text_lengths={6: 1},
        labels={2: 1},
        predicted_labels=[[2]],
    )
    values = {
        "model": MODEL,
        "request_id": f"req_{number}",
        "outcome": RequestOutcome.SUCCEEDED,
        "duration_seconds": 0.02,
        "metadata": metadata,
    }
    return ServedRequest(**{**values, **changes})  # type: ignore[arg-type]


def build_batch(*requests: ServedRequest) -> TrafficBatch:
    result = TrafficBatch()
    for request in requests:
        result.add(request)
    return result


def test_counts_of_several_processes_are_summed(sessions: SessionMaker, session: Session) -> None:
    for part in ((1, 2), (3,)):
        with transaction(sessions) as tx:
            traffic.record_batch(tx, build_batch(*map(make_request, part)))
    with transaction(sessions) as tx:
        failed = make_request(4, outcome=RequestOutcome.CLIENT_ERROR, metadata=None)
        traffic.record_batch(tx, build_batch(failed))
    total, by_hour = traffic.get_totals(session, MODEL, 2)
    assert total["requests"] == {"succeeded": 3, "client_error": 1}
    assert total["sums"]["tokens"] == 27
    assert total["labels"] == {"2": 3}
    assert len(by_hour) in (1, 2), "one row per hour, two if the test crossed its end"
    names = set(session.scalars(select(Prediction.request_id)))
    assert names == {"req_1", "req_2", "req_3"}


def test_a_failed_batch_is_requeued() -> None:
    pending = build_batch(make_request(2))
    pending.requeue(build_batch(make_request(1)))
    assert pending.counts_by_model[MODEL]["requests"] == {"succeeded": 2}
    assert [request.request_id for request in pending.predictions] == ["req_2", "req_1"]


def test_pending_predictions_are_bounded_and_dropped_ones_counted() -> None:
    full = TrafficBatch(predictions=[make_request(0)] * traffic.MAX_PENDING_PREDICTIONS)
    full.add(make_request(1))
    full.requeue(build_batch(make_request(2)))
    assert (len(full.predictions), full.dropped_predictions) == (traffic.MAX_PENDING_PREDICTIONS, 2)
    assert full.counts_by_model[MODEL]["requests"] == {"succeeded": 2}


def test_expired_rows_are_pruned(sessions: SessionMaker, session: Session) -> None:
    with transaction(sessions) as tx:
        traffic.record_batch(tx, build_batch(make_request(1), make_request(2)))
        old = func.clock_timestamp() - traffic.PREDICTIONS_RETENTION - timedelta(hours=1)
        tx.execute(
            update(Prediction).where(Prediction.request_id == "req_1").values(created_at=old)
        )
        long_ago = func.clock_timestamp() - traffic.HOURLY_COUNTS_RETENTION - timedelta(hours=1)
        tx.add(ModelTrafficHour(model="ft:gone", hour=long_ago, counts={}))
    with transaction(sessions) as tx:
        traffic.prune(tx)
    assert session.scalars(select(Prediction.request_id)).all() == ["req_2"]
    assert session.scalars(select(ModelTrafficHour.model)).all() == [MODEL]


def test_only_the_newest_predictions_of_a_model_are_kept(
    sessions: SessionMaker, session: Session
) -> None:
    with transaction(sessions) as tx:
        traffic.record_batch(tx, build_batch(*map(make_request, range(5))))
        for number in range(5):
            age = func.clock_timestamp() - timedelta(minutes=number)
            tx.execute(
                update(Prediction)
                .where(Prediction.request_id == f"req_{number}")
                .values(created_at=age)
            )
    with transaction(sessions) as tx:
        traffic.prune(tx, max_predictions=3)
    assert set(session.scalars(select(Prediction.request_id))) == {"req_0", "req_1", "req_2"}


@pytest.mark.parametrize("header", [None, "", "{", '{"texts": "many"}', "[1]"])
def test_malformed_engine_metadata_is_none(header: str | None) -> None:
    assert parse_header(header) is None
