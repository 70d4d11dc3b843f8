"""Counts of traffic: they add up over processes, and are bounded whatever happens."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.session import SessionMaker, transaction
from app.db.tables import ModelTrafficHour, Prediction
from app.monitoring import traffic
from app.monitoring.traffic import ServedRequest, TrafficBatch
from app.wire.engine_metadata import EngineMetadata, parse_header

MODEL = "ft:encoder:acme::Abcd1234"


def asked(number: int, **changes: object) -> ServedRequest:
    observation = EngineMetadata(
        answer_id=f"classify-{number}", tokens=9, lengths={6: 1}, labels={2: 1}, found=[[2]]
    )
    values = {
        "model": MODEL,
        "request_id": f"req_{number}",
        "outcome": "answered",
        "seconds": 0.02,
        "observation": observation,
    }
    return ServedRequest(**{**values, **changes})  # type: ignore[arg-type]


def batch(*requests: ServedRequest) -> TrafficBatch:
    made = TrafficBatch()
    for request in requests:
        made.add(request)
    return made


def test_what_several_processes_record_adds_up(sessions: SessionMaker, session: Session) -> None:
    for part in ((1, 2), (3,)):
        with transaction(sessions) as own:
            traffic.record_batch(own, batch(*map(asked, part)))
    with transaction(sessions) as own:
        traffic.record_batch(own, batch(asked(4, outcome="refused", observation=None)))
    total, by_hour = traffic.get_totals(session, MODEL, 2)
    assert total["requests"] == {"answered": 3, "refused": 1}
    assert total["sums"]["tokens"] == 27
    assert total["labels"] == {"2": 3}
    assert len(by_hour) in (1, 2), "one row an hour, two if the test ran over its end"
    names = set(session.scalars(select(Prediction.request_id)))
    assert names == {"req_1", "req_2", "req_3"}


def test_a_batch_that_could_not_be_recorded_waits_for_the_next() -> None:
    waiting = batch(asked(2))
    waiting.requeue(batch(asked(1)))
    assert waiting.counts_by_model[MODEL]["requests"] == {"answered": 2}
    assert [one.request_id for one in waiting.predictions] == ["req_2", "req_1"]


def test_answers_that_wait_are_bounded_and_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    full = TrafficBatch(predictions=[asked(0)] * traffic.MAX_PENDING_PREDICTIONS)
    full.add(asked(1))
    full.requeue(batch(asked(2)))
    assert (len(full.predictions), full.dropped_predictions) == (traffic.MAX_PENDING_PREDICTIONS, 2)
    assert full.counts_by_model[MODEL]["requests"] == {"answered": 2}


def test_what_is_too_old_is_forgotten(sessions: SessionMaker, session: Session) -> None:
    with transaction(sessions) as own:
        traffic.record_batch(own, batch(asked(1), asked(2)))
        old = func.clock_timestamp() - traffic.PREDICTIONS_RETENTION - timedelta(hours=1)
        own.execute(
            update(Prediction).where(Prediction.request_id == "req_1").values(created_at=old)
        )
        long_ago = func.clock_timestamp() - traffic.HOURLY_COUNTS_RETENTION - timedelta(hours=1)
        own.add(ModelTrafficHour(model="ft:gone", hour=long_ago, counts={}))
    with transaction(sessions) as own:
        traffic.prune(own)
    assert session.scalars(select(Prediction.request_id)).all() == ["req_2"]
    assert session.scalars(select(ModelTrafficHour.model)).all() == [MODEL]


def test_of_one_model_only_the_newest_answers_are_kept(
    sessions: SessionMaker, session: Session
) -> None:
    with transaction(sessions) as own:
        traffic.record_batch(own, batch(*map(asked, range(5))))
        for number in range(5):
            age = func.clock_timestamp() - timedelta(minutes=number)
            own.execute(
                update(Prediction)
                .where(Prediction.request_id == f"req_{number}")
                .values(created_at=age)
            )
    with transaction(sessions) as own:
        traffic.prune(own, max_predictions=3)
    assert set(session.scalars(select(Prediction.request_id))) == {"req_0", "req_1", "req_2"}


@pytest.mark.parametrize("header", [None, "", "{", '{"texts": "many"}', "[1]"])
def test_a_foreign_engines_header_is_no_observation(header: str | None) -> None:
    assert parse_header(header) is None
