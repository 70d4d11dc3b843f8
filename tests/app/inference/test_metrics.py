"""Metrics of requests to engines and of HTTP routes, as `GET /metrics` exports them."""

import httpx
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from app.organization import admin_keys
from tests import http_client
from tests.live_api import Api
from tests.live_server import FakeEngine
from tests.polling import wait_until


class Scraper:
    """Reads `GET /metrics` with an admin key."""

    def __init__(self, api: Api, session: Session) -> None:
        self._url = f"{api.url}/metrics"
        key = admin_keys.ensure_working_key(session, "acme", "", user="root")
        session.commit()
        self._headers = {"Authorization": f"Bearer {key}"}

    def read(self, name: str, **labels: str) -> float:
        """Return a sample's value; 0 if there is none yet."""
        response = http_client.get(self._url, headers=self._headers)
        return sum(
            sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture
def scraper(api: Api, session: Session) -> Scraper:
    return Scraper(api, session)


def test_streams_are_timed_by_base_model(
    scraper: Scraper, openai: OpenAI, engine: FakeEngine
) -> None:
    names = ("time_to_first_token_seconds", "inter_token_latency_seconds")
    before = [scraper.read(f"luthier_inference_{name}_count", model="base") for name in names]
    stream = openai.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    assert len(list(stream)) > 1
    after = [scraper.read(f"luthier_inference_{name}_count", model="base") for name in names]
    assert after[0] == before[0] + 1
    assert after[1] > before[1]


def test_requests_are_counted_by_outcome(
    scraper: Scraper, http: httpx.Client, engine: FakeEngine
) -> None:
    def read(outcome: str) -> float:
        name = "luthier_inference_requests_total"
        return scraper.read(name, model="base", outcome=outcome)

    before = [read("succeeded"), read("client_error")]
    for content in ("hello", "too long"):
        messages = [{"role": "user", "content": content}]
        http.post("/v1/chat/completions", json={"model": "base", "messages": messages})
    wait_until(
        "both are counted",
        lambda: [read("succeeded"), read("client_error")] == [n + 1 for n in before],
    )


def test_requests_are_counted_by_route_and_not_by_path(
    scraper: Scraper, http: httpx.Client
) -> None:
    def read(route: str, status: str) -> float:
        name = "luthier_http_requests_total"
        return scraper.read(name, method="GET", route=route, status=status)

    series = (("/v1/files/{file_id}", "404"), ("none", "404"), ("/v1/files", "200"))
    before = [read(*each) for each in series]
    for path in ("/v1/files/file-1", "/v1/files/file-2", "/v1/nowhere", "/v1/files"):
        http.get(path)
    expected = [count + more for count, more in zip(before, (2, 1, 1), strict=True)]
    wait_until("all are counted", lambda: [read(*each) for each in series] == expected)


def test_an_unknown_method_is_no_label_of_its_own(scraper: Scraper, http: httpx.Client) -> None:
    http.request("PROPFIND", "/v1/files")
    wait_until(
        "it is counted",
        lambda: scraper.read("luthier_http_requests_total", method="other") > 0,
    )
    assert not scraper.read("luthier_http_requests_total", method="PROPFIND")
