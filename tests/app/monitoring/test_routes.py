"""Routes of /v1/models/{model}/monitoring and /feedback: traffic counts and access to them."""

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
from app.monitoring.traffic import RequestOutcome, ServedRequest, TrafficBatch, record_batch
from app.organization import admin_keys
from app.wire.engine_metadata import METADATA_HEADER, EngineMetadata
from tests import http_client
from tests.app.http.test_admission import expect_error
from tests.app.jobs.test_routes import make_model
from tests.factories import make_job
from tests.live_api import Account, Api
from tests.live_server import FakeEngine

TUNED = "ft:encoder:acme::Abcd1234"
BASELINE = {
    "version": histogram_bins.VERSION,
    "method": "classification",
    "multi_label": False,
    "texts": 1000,
    "text_lengths": {"6": 500, "7": 500},
    "unknown_token_ratio": {"0": 900, "3": 100},
    "labels": ["billing", "shipping"],
    "label_counts": {"0": 600, "1": 400},
}


@pytest.fixture
def tuned(session: Session, account: Account, engine: FakeEngine) -> str:
    project = session.get_one(Project, account.principal.project_id)
    values = {"base_model": "encoder", "method": "classification", "drift_baseline": BASELINE}
    return make_model(session, make_job(session, project, **values), TUNED).name


def classify(http: httpx.Client, *texts: str) -> httpx.Response:
    response = http.post("/v1/classify", json={"model": TUNED, "input": list(texts)})
    assert response.status_code == 200, response.text
    return response


def get_report(http: httpx.Client, **query: Any) -> Any:
    response = http.get(f"/v1/models/{TUNED}/monitoring", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def post_feedback(http: httpx.Client, *items: dict[str, Any]) -> httpx.Response:
    return http.post(f"/v1/models/{TUNED}/feedback", json={"feedback": list(items)})


def build_request_counts(**counts: int) -> dict[str, int]:
    """Build request counts by outcome, as the report has them."""
    outcomes = ("succeeded", "client_error", "server_error", "client_disconnected")
    return dict.fromkeys(outcomes, 0) | counts


class TestMonitoring:
    def test_traffic_is_counted_and_compared(self, http: httpx.Client, tuned: str) -> None:
        for _ in range(30):
            response = classify(http, "my parcel", "my parcel", "my invoice", "my parcel")
        assert METADATA_HEADER not in response.headers, "internal to engine and API"
        seen = get_report(http)
        assert (seen["object"], seen["model"]) == ("model.monitoring", TUNED)
        assert seen["requests"] == build_request_counts(succeeded=30)
        assert (seen["texts"], seen["input_tokens"]) == (120, 240)
        assert seen["latency"]["p95_ms"] > 0
        assert [(x["label"], x["count"], x["training_share"]) for x in seen["labels"]["data"]] == [
            ("billing", 30, 0.6),
            ("shipping", 90, 0.4),
        ]
        assert seen["labels"]["drift"]["state"] == "drifted"
        assert seen["input_length"]["drift"]["state"] == "drifted", (
            "2 tokens per text, 12 in training"
        )
        assert seen["confidence"]["live"]["counts"][-1] == 120
        assert seen["feedback"] is None
        assert sum(hour["requests"] for hour in seen["by_hour"]) == 30

    def test_drift_needs_enough_texts(self, http: httpx.Client, tuned: str) -> None:
        classify(http, "my parcel")
        drift = get_report(http)["input_length"]["drift"]
        assert drift == {
            "psi": None,
            "noise_threshold": None,
            "state": "insufficient_data",
            "texts": 1,
        }

    def test_client_and_server_errors_are_counted_apart(
        self, http: httpx.Client, tuned: str
    ) -> None:
        for text, status in (("too long", 400), ("crash", 503)):
            response = http.post("/v1/classify", json={"model": TUNED, "input": text})
            assert response.status_code == status
        seen = get_report(http, hours=1)
        assert seen["requests"] == build_request_counts(client_error=1, server_error=1)
        assert seen["latency"]["p50_ms"] is None

    def test_chat_model(
        self, http: httpx.Client, session: Session, account: Account, engine: FakeEngine
    ) -> None:
        project = session.get_one(Project, account.principal.project_id)
        name = make_model(
            session, make_job(session, project, base_model="base"), "ft:base:a::Abcd1234"
        ).name
        body = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        seen = http.get(f"/v1/models/{name}/monitoring").json()
        assert (seen["requests"]["succeeded"], seen["input_tokens"]) == (1, 0)
        assert (seen["labels"], seen["unknown_tokens"]) == (None, None)

    def test_unknown_base_and_other_projects_models(
        self, http: httpx.Client, other_tenant: httpx.Client, tuned: str
    ) -> None:
        path = f"/v1/models/{TUNED}"
        unknown = expect_error(http.get("/v1/models/ft:encoder:acme::Zzzz9999/monitoring"), 404)
        assert unknown["code"] == "model_not_found"
        assert (
            expect_error(other_tenant.get(f"{path}/monitoring"), 404)["code"] == "model_not_found"
        )
        body = {"feedback": [{"id": "req_1", "label": "billing"}]}
        assert expect_error(other_tenant.post(f"{path}/feedback", json=body), 404)["code"]
        assert (
            "base model" in expect_error(http.get("/v1/models/encoder/monitoring"), 400)["message"]
        )
        assert (
            expect_error(http.get(f"{path}/monitoring", params={"hours": 0}), 400)["param"]
            == "hours"
        )


class TestFeedback:
    def test_accuracy_from_feedback(self, http: httpx.Client, tuned: str) -> None:
        first = classify(http, "my parcel", "my invoice")
        request_id, response_id = first.headers["x-request-id"], first.json()["id"]
        taken = post_feedback(
            http,
            {"id": request_id, "index": 0, "label": "shipping"},
            {"id": response_id, "index": 1, "label": "shipping"},
        ).json()
        assert (taken["received"], taken["changed"]) == (2, 2)
        quality = get_report(http)["feedback"]
        assert (quality["texts"], quality["accuracy"], quality["f1_micro"]) == (2, 0.5, 0.5)
        assert quality["per_label"]["shipping"]["recall"] == 0.5

    def test_repeated_feedback_changes_nothing_and_the_latest_wins(
        self, http: httpx.Client, tuned: str
    ) -> None:
        response_id = classify(http, "my parcel").json()["id"]
        for label, changed in (("billing", 1), ("billing", 0), ("shipping", 1)):
            assert (
                post_feedback(http, {"id": response_id, "label": label}).json()["changed"]
                == changed
            )
        quality = get_report(http)["feedback"]
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
            ({"label": "billing"}, 400, "feedback[1].id"),
        ],
    )
    def test_one_invalid_item_rejects_all(
        self,
        http: httpx.Client,
        tuned: str,
        changes: dict[str, Any],
        status: int,
        param: str,
    ) -> None:
        response_id = classify(http, "my parcel").json()["id"]
        good: dict[str, Any] = {"id": response_id, "label": "shipping"}
        assert (
            expect_error(post_feedback(http, good, {**good, **changes}), status)["param"] == param
        )
        assert get_report(http)["feedback"] is None

    def test_only_classifiers_accept_feedback(
        self, http: httpx.Client, session: Session, tuned: str
    ) -> None:
        session.execute(update(Job).values(drift_baseline=BASELINE | {"method": "embedding"}))
        session.commit()
        body = {"id": "req_1", "label": "billing"}
        assert "classifiers" in expect_error(post_feedback(http, body), 400)["message"]


def test_malformed_engine_metadata_fails_no_request(
    api: Api, http: httpx.Client, tuned: str
) -> None:
    """The response is forwarded, and the request is counted."""
    response = http.post("/v1/classify", json={"model": TUNED, "input": "garbage header"})
    assert response.status_code == 200
    assert get_report(http)["requests"]["succeeded"] == 1


def test_prometheus_series_are_of_the_keys_organization(
    api: Api, http: httpx.Client, sessions: SessionMaker, tuned: str
) -> None:
    classify(http, "my parcel", "my invoice")
    get_report(http)
    with transaction(sessions) as session:
        keys = {
            name: admin_keys.ensure_working_key(session, name, "", user="root")
            for name in ("acme", "others")
        }
    bare = httpx.Client(base_url=api.url, timeout=http_client.TIMEOUT_SECONDS)
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
    assert families["luthier_model_input_tokens_bucket"] >= 2, "the +Inf bucket"
    assert tuned not in pages["others"].text
    assert expect_error(bare.get("/metrics"), 401)
    assert expect_error(http.get("/metrics"), 403), "a project key is not an admin key"
    bare.close()


def get_samples(collected: Iterable[Metric], model: str) -> dict[tuple[str, str], float]:
    """Get the samples of one model by name and label `metric`."""
    return {
        (sample.name, sample.labels.get("metric", "")): sample.value
        for family in collected
        for sample in family.samples
        if sample.labels.get("model") == model
    }


def test_prometheus_feedback_metrics(
    http: httpx.Client, sessions: SessionMaker, tuned: str
) -> None:
    response_id = classify(http, "my parcel", "my invoice").json()["id"]
    recorder = TrafficRecorder(sessions)
    recorder.counters.register_model(tuned)
    recorder.counters.refresh(recorder.get_last_day_metrics)
    before = get_samples(recorder.counters.build_collector("acme").collect(), tuned)
    assert not [name for name, _ in before if "feedback" in name], "no series without feedback"
    post_feedback(http, *({"id": response_id, "index": n, "label": "shipping"} for n in range(2)))
    quality = get_report(http)["feedback"]
    recorder = TrafficRecorder(sessions)
    recorder.counters.register_model(tuned)
    recorder.counters.refresh(recorder.get_last_day_metrics)
    samples_by_name = get_samples(recorder.counters.build_collector("acme").collect(), tuned)
    assert samples_by_name["luthier_model_feedback_texts", ""] == 2
    for metric in ("accuracy", "f1_micro", "f1_macro", "f1_weighted"):
        assert samples_by_name["luthier_model_feedback_quality", metric] == quality[metric]
    assert samples_by_name["luthier_model_feedback_quality", "accuracy"] == 0.5
    assert not get_samples(recorder.counters.build_collector("others").collect(), tuned)


def test_feedback_on_another_processs_response_exports_the_model(
    api: Api, http: httpx.Client, session: Session, account: Account, engine: FakeEngine
) -> None:
    project = session.get_one(Project, account.principal.project_id)
    values = {"base_model": "encoder", "method": "classification", "drift_baseline": BASELINE}
    name = make_model(session, make_job(session, project, **values), "ft:encoder:acme::Far4away")
    elsewhere = TrafficBatch()
    seen = EngineMetadata(texts=1, tokens=2, predicted_labels=[[1]])
    elsewhere.add(
        ServedRequest(
            model=name.name,
            request_id="req_far",
            outcome=RequestOutcome.SUCCEEDED,
            duration_seconds=1,
            metadata=seen,
        )
    )
    record_batch(session, elsewhere)
    session.commit()
    assert not get_samples(api.recorder.counters.build_collector("acme").collect(), name.name)
    body = {"feedback": [{"id": "req_far", "label": "shipping"}]}
    assert http.post(f"/v1/models/{name.name}/feedback", json=body).status_code == 200
    assert get_samples(api.recorder.counters.build_collector("acme").collect(), name.name)
