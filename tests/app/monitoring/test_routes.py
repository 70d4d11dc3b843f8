"""/v1/models/{model}/monitoring and /feedback: what traffic leaves behind, and who may see it."""

from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.orm import Session

from app import histogram_bins
from app.db.session import SessionMaker, transaction
from app.db.tables import Job, Project
from app.monitoring.recorder import TrafficRecorder
from app.monitoring.traffic import ServedRequest, TrafficBatch, record_batch
from app.organization import admin_keys
from app.wire.engine_metadata import EngineMetadata
from tests import http_client
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

TUNED = "ft:encoder:acme::Abcd1234"
REFERENCE = {
    "version": histogram_bins.VERSION,
    "method": "classification",
    "many": False,
    "texts": 1000,
    "lengths": {"6": 500, "7": 500},
    "unknown": {"0": 900, "3": 100},
    "labels": ["billing", "shipping"],
    "label_counts": {"0": 600, "1": 400},
}


@pytest.fixture
def tuned(session: Session, account: Account, engine: FakeEngine) -> str:
    project = session.get_one(Project, account.principal.project_id)
    values = {"base_model": "encoder", "method": "classification", "reference": REFERENCE}
    return make_model(session, make_job(session, project, **values), TUNED).name


def classify(http: httpx.Client, *texts: str) -> httpx.Response:
    answer = http.post("/v1/classify", json={"model": TUNED, "input": list(texts)})
    assert answer.status_code == 200, answer.text
    return answer


def monitoring(http: httpx.Client, **query: Any) -> Any:
    answer = http.get(f"/v1/models/{TUNED}/monitoring", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def feedback(http: httpx.Client, *said: dict[str, Any]) -> httpx.Response:
    return http.post(f"/v1/models/{TUNED}/feedback", json={"feedback": list(said)})


class TestMonitoring:
    def test_traffic_is_counted_and_compared(self, http: httpx.Client, tuned: str) -> None:
        for _ in range(30):
            answer = classify(http, "my parcel", "my parcel", "my invoice", "my parcel")
        assert "luthier-observation" not in answer.headers, "that is between the engine and us"
        seen = monitoring(http)
        assert (seen["object"], seen["model"]) == ("model.monitoring", TUNED)
        assert seen["requests"] == {"answered": 30, "refused": 0, "failed": 0, "left": 0}
        assert (seen["texts"], seen["input_tokens"]) == (120, 240)
        assert seen["latency"]["p95_ms"] > 0
        assert [(x["label"], x["count"], x["training_share"]) for x in seen["labels"]["data"]] == [
            ("billing", 30, 0.6),
            ("shipping", 90, 0.4),
        ]
        assert seen["labels"]["drift"]["state"] == "drifted"
        assert seen["input_length"]["drift"]["state"] == "drifted", "two tokens, twelve in training"
        assert seen["confidence"]["live"]["counts"][-1] == 120
        assert seen["feedback"] is None
        assert sum(hour["requests"] for hour in seen["by_hour"]) == 30

    def test_a_few_texts_are_not_judged(self, http: httpx.Client, tuned: str) -> None:
        classify(http, "my parcel")
        drift = monitoring(http)["input_length"]["drift"]
        assert drift == {"psi": None, "by_chance": None, "state": "too_few", "texts": 1}

    def test_refused_and_failed_are_told_apart(self, http: httpx.Client, tuned: str) -> None:
        for text, status in (("too long", 400), ("crash", 503)):
            answer = http.post("/v1/classify", json={"model": TUNED, "input": text})
            assert answer.status_code == status
        seen = monitoring(http, hours=1)
        assert seen["requests"] == {"answered": 0, "refused": 1, "failed": 1, "left": 0}
        assert seen["latency"]["p50_ms"] is None

    def test_of_a_chat_model(
        self, http: httpx.Client, session: Session, account: Account, engine: FakeEngine
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        name = make_model(
            session, make_job(session, project, base_model="base"), "ft:base:a::Abcd1234"
        ).name
        body = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        seen = http.get(f"/v1/models/{name}/monitoring").json()
        assert (seen["requests"]["answered"], seen["input_tokens"]) == (1, 0)
        assert (seen["labels"], seen["unknown_tokens"]) == (None, None)

    def test_of_others(self, http: httpx.Client, stranger: httpx.Client, tuned: str) -> None:
        path = f"/v1/models/{TUNED}"
        unknown = expect_error(http.get("/v1/models/ft:encoder:acme::Zzzz9999/monitoring"), 404)
        assert unknown["code"] == "model_not_found"
        assert expect_error(stranger.get(f"{path}/monitoring"), 404)["code"] == "model_not_found"
        said = {"feedback": [{"id": "req_1", "label": "billing"}]}
        assert expect_error(stranger.post(f"{path}/feedback", json=said), 404)["code"]
        assert (
            "base model" in expect_error(http.get("/v1/models/encoder/monitoring"), 400)["message"]
        )
        assert (
            expect_error(http.get(f"{path}/monitoring", params={"hours": 0}), 400)["param"]
            == "hours"
        )


class TestFeedback:
    def test_it_gives_live_accuracy(self, http: httpx.Client, tuned: str) -> None:
        first = classify(http, "my parcel", "my invoice")
        request_id, answer_id = first.headers["x-request-id"], first.json()["id"]
        taken = feedback(
            http,
            {"id": request_id, "index": 0, "label": "shipping"},
            {"id": answer_id, "index": 1, "label": "shipping"},
        ).json()
        assert (taken["received"], taken["changed"]) == (2, 2)
        quality = monitoring(http)["feedback"]
        assert (quality["texts"], quality["accuracy"], quality["f1_micro"]) == (2, 0.5, 0.5)
        assert quality["per_label"]["shipping"]["recall"] == 0.5

    def test_the_same_again_changes_nothing_and_the_last_word_counts(
        self, http: httpx.Client, tuned: str
    ) -> None:
        answer_id = classify(http, "my parcel").json()["id"]
        for label, changed in (("billing", 1), ("billing", 0), ("shipping", 1)):
            assert feedback(http, {"id": answer_id, "label": label}).json()["changed"] == changed
        quality = monitoring(http)["feedback"]
        assert (quality["texts"], quality["accuracy"]) == (1, 1.0)
        assert list(quality["per_label"]) == ["shipping"]

    @pytest.mark.parametrize(
        ("changes", "status", "param"),
        [
            ({"label": "no such"}, 400, "feedback[1].label"),
            ({"label": None, "labels": ["billing", "shipping"]}, 400, "feedback[1].labels"),
            ({"index": 1}, 400, "feedback[1].index"),
            ({"index": -1}, 400, "feedback[1].index"),
            ({"labels": []}, 400, "feedback[1]"),
            ({"id": "req_unknown"}, 404, "feedback[1].id"),
        ],
    )
    def test_what_makes_no_sense_is_refused_whole(
        self,
        http: httpx.Client,
        tuned: str,
        changes: dict[str, Any],
        status: int,
        param: str,
    ) -> None:
        answer_id = classify(http, "my parcel").json()["id"]
        good: dict[str, Any] = {"id": answer_id, "label": "shipping"}
        assert expect_error(feedback(http, good, {**good, **changes}), status)["param"] == param
        assert monitoring(http)["feedback"] is None

    def test_only_classifiers_take_it(
        self, http: httpx.Client, session: Session, tuned: str
    ) -> None:
        session.execute(update(Job).values(reference=REFERENCE | {"method": "embedding"}))
        session.commit()
        said = {"id": "req_1", "label": "billing"}
        assert "classifiers" in expect_error(feedback(http, said), 400)["message"]


def test_no_request_fails_because_counting_does(api: Api, http: httpx.Client, tuned: str) -> None:
    """The engine's header is garbage: the answer comes, and the request counts as one."""
    answer = http.post("/v1/classify", json={"model": TUNED, "input": "garbage header"})
    assert answer.status_code == 200
    assert monitoring(http)["requests"]["answered"] == 1


def test_prometheus_sees_the_models_of_its_organization(
    api: Api, http: httpx.Client, sessions: SessionMaker, tuned: str
) -> None:
    classify(http, "my parcel", "my invoice")
    monitoring(http)
    with transaction(sessions) as session:
        keys = {
            name: admin_keys.ensure_working_key(session, name, "") for name in ("acme", "others")
        }
    bare = httpx.Client(base_url=api.url, timeout=http_client.SECONDS)
    pages = {
        name: bare.get("/metrics", headers={"Authorization": f"Bearer {key}"})
        for name, key in keys.items()
    }
    families = {
        sample.name: sample.value
        for family in text_string_to_metric_families(pages["acme"].text)
        for sample in family.samples
        if sample.labels.get("model") == tuned and sample.labels.get("label") in (None, "1")
    }
    assert families["luthier_model_labels_total"] >= 1
    assert families["luthier_model_texts_total"] >= 2
    assert families["luthier_model_lengths_bucket"] >= 2, "the last bucket holds all"
    assert tuned not in pages["others"].text
    assert expect_error(bare.get("/metrics"), 401)
    assert expect_error(http.get("/metrics"), 403), "a project's key is no admin's"
    bare.close()


def samples(collected: Iterable[Metric], model: str) -> dict[tuple[str, str], float]:
    """Of one model, by name and what is measured."""
    return {
        (sample.name, sample.labels.get("of", "")): sample.value
        for family in collected
        for sample in family.samples
        if sample.labels.get("model") == model
    }


def test_prometheus_has_what_feedback_tells(
    http: httpx.Client, sessions: SessionMaker, tuned: str
) -> None:
    answer_id = classify(http, "my parcel", "my invoice").json()["id"]
    recorder = TrafficRecorder(sessions)
    recorder.counters.register_model(tuned)
    recorder.counters.refresh(recorder.get_last_day_metrics)
    before = samples(recorder.counters.for_organization("acme").collect(), tuned)
    assert not [name for name, _ in before if "feedback" in name], "no share of nothing"
    feedback(http, *({"id": answer_id, "index": n, "label": "shipping"} for n in range(2)))
    quality = monitoring(http)["feedback"]
    recorder = TrafficRecorder(sessions)
    recorder.counters.register_model(tuned)
    recorder.counters.refresh(recorder.get_last_day_metrics)
    shown = samples(recorder.counters.for_organization("acme").collect(), tuned)
    assert shown["luthier_model_feedback_texts", ""] == 2
    for measured in ("accuracy", "f1_micro", "f1_macro", "f1_weighted"):
        assert shown["luthier_model_feedback_quality", measured] == quality[measured]
    assert shown["luthier_model_feedback_quality", "accuracy"] == 0.5
    assert not samples(recorder.counters.for_organization("others").collect(), tuned)


def test_a_model_is_shown_for_feedback_on_what_another_process_answered(
    api: Api, http: httpx.Client, session: Session, account: Account, engine: FakeEngine
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    values = {"base_model": "encoder", "method": "classification", "reference": REFERENCE}
    name = make_model(session, make_job(session, project, **values), "ft:encoder:acme::Far4away")
    elsewhere = TrafficBatch()
    seen = EngineMetadata(texts=1, tokens=2, found=[[1]])
    elsewhere.add(
        ServedRequest(
            model=name.name,
            request_id="req_far",
            outcome="answered",
            duration_seconds=1,
            metadata=seen,
        )
    )
    record_batch(session, elsewhere)
    session.commit()
    assert not samples(api.recorder.counters.for_organization("acme").collect(), name.name)
    said = {"feedback": [{"id": "req_far", "label": "shipping"}]}
    assert http.post(f"/v1/models/{name.name}/feedback", json=said).status_code == 200
    assert samples(api.recorder.counters.for_organization("acme").collect(), name.name)
