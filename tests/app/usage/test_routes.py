"""Usage and costs, with the official client: the sum of what the answers said, for admins only."""

import time
from typing import Any

import httpx
import pytest
from openai import OpenAI

from app.db.session import SessionMaker, transaction
from app.db.tables import UsageKind
from app.usage import ledger
from app.usage.ledger import UsageCounts, UsageKey
from tests.app.http.test_admission import expect_error
from tests.live_api import Account
from tests.live_server import FakeEngine
from tests.polling import wait_until

USAGE = "/v1/organization/usage/completions"


@pytest.fixture
def key(account: Account) -> UsageKey:
    principal = account.principal
    return UsageKey(principal.project_id, principal.key_id, "base", UsageKind.COMPLETIONS)


def an_hour_ago() -> int:
    return int(time.time()) - 3600


def results(page: Any) -> list[Any]:
    return [result for bucket in page.data for result in bucket.results]


def count(admin: OpenAI, **query: Any) -> Any:
    page = admin.admin.organization.usage.completions(start_time=an_hour_ago(), **query)
    return results(page)


def test_sums_are_those_of_the_answers(openai: OpenAI, admin: OpenAI, engine: FakeEngine) -> None:
    """Of streams too, whether their clients asked for usage or not."""
    messages: Any = [{"role": "user", "content": "hello"}]
    answer = openai.chat.completions.create(model="base", messages=messages)
    assert answer.usage is not None
    plain = openai.chat.completions.create(model="base", messages=messages, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in plain)
    counted = openai.chat.completions.create(
        model="base", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    assert [chunk.usage for chunk in counted][-1] == answer.usage
    wait_until(
        "usage is written", lambda: [each.num_model_requests for each in count(admin)] == [3]
    )
    (result,) = count(admin)
    assert result.input_tokens == 3 * answer.usage.prompt_tokens
    assert result.output_tokens == 3 * answer.usage.completion_tokens
    assert (result.project_id, result.api_key_id, result.model, result.batch) == (None,) * 4


def test_groups_and_filters(admin: OpenAI, sessions: SessionMaker, key: UsageKey) -> None:
    tuned = UsageKey(key.project_id, "key_2", "ft:base:acme::Abcd1234", key.kind, is_batch=True)
    embedding = UsageKey(key.project_id, "key_2", "encoder", UsageKind.EMBEDDINGS)
    with transaction(sessions) as session:
        ledger.record(
            session,
            {
                key: UsageCounts(2, 20, 6, 4),
                tuned: UsageCounts(1, 5, 0, 3),
                embedding: UsageCounts(7, 70, 0, 0),
            },
        )
    (whole,) = count(admin)
    assert (whole.num_model_requests, whole.input_tokens, whole.output_tokens) == (3, 25, 7)
    assert (whole.input_cached_tokens, whole.input_uncached_tokens) == (6, 19)
    by_model = {each.model: each.output_tokens for each in count(admin, group_by=["model"])}
    assert by_model == {"base": 4, tuned.model: 3}
    grouped = count(admin, group_by=["api_key_id", "batch", "service_tier", "user_id"])
    assert {(each.api_key_id, each.batch, each.service_tier) for each in grouped} == {
        (key.api_key_id, False, "default"),
        ("key_2", True, "default"),
    }
    for query, expected in (
        ({"models": ["base", "nothing"]}, 2),
        ({"api_key_ids": ["key_2"]}, 1),
        ({"batch": True}, 1),
        ({"batch": False}, 2),
        ({"project_ids": [key.project_id]}, 3),
    ):
        assert [each.num_model_requests for each in count(admin, **query)] == [expected], query
    for query in ({"project_ids": ["proj_other"]}, {"user_ids": ["user-1"]}, {"models": ["x"]}):
        assert count(admin, **query) == [], query
    embeddings = admin.admin.organization.usage.embeddings(
        start_time=an_hour_ago(), group_by=["model"]
    )
    (result,) = results(embeddings)
    assert (result.model, result.input_tokens, result.num_model_requests) == ("encoder", 70, 7)


def test_pages_of_buckets(admin: OpenAI, sessions: SessionMaker, key: UsageKey) -> None:
    with transaction(sessions) as session:
        ledger.record(session, {key: UsageCounts(1, 10, 0, 1)})
    start = an_hour_ago()
    found: list[Any] = []
    buckets: list[int] = []
    page: str | None = None
    while True:
        query: Any = {"page": page} if page else {}
        part = admin.admin.organization.usage.completions(
            start_time=start, bucket_width="1m", limit=7, end_time=start + 3900, **query
        )
        found += results(part)
        buckets += [bucket.start_time for bucket in part.data]
        page = part.next_page
        assert part.has_more == (page is not None)
        if page is None:
            break
    assert [result.input_tokens for result in found] == [10]
    assert len(buckets) in (65, 66)
    assert buckets == sorted(set(buckets))


def test_another_organization_sees_nothing(
    admin: OpenAI, sessions: SessionMaker, key: UsageKey
) -> None:
    elsewhere = UsageKey("proj_elsewhere", "key_9", "base", key.kind)
    with transaction(sessions) as session:
        ledger.record(session, {elsewhere: UsageCounts(1, 10, 0, 1)})
    assert count(admin) == []
    assert count(admin, project_ids=["proj_elsewhere"]) == []


@pytest.mark.parametrize(
    "kind",
    [
        "audio_speeches",
        "audio_transcriptions",
        "code_interpreter_sessions",
        "file_search_calls",
        "images",
        "moderations",
        "vector_stores",
        "web_search_calls",
    ],
)
def test_usage_of_what_is_not_offered_is_empty(admin: OpenAI, kind: str) -> None:
    page = getattr(admin.admin.organization.usage, kind)(start_time=an_hour_ago())
    assert page.data
    assert results(page) == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "start_time"),
        ("start_time=x", "start_time"),
        ("start_time=-1", "start_time"),
        ("start_time=10&end_time=9", "end_time"),
        ("start_time=10&bucket_width=1w", "bucket_width"),
        ("start_time=10&limit=32", "limit"),
        ("start_time=10&bucket_width=1h&limit=169", "limit"),
        ("start_time=10&limit=-1", "limit"),
        ("start_time=10&group_by=colour", "group_by[0]"),
        (f"start_time={10**30}", "start_time"),
    ],
)
def test_invalid_queries_are_refused(admin_http: httpx.Client, query: str, param: str) -> None:
    assert expect_error(admin_http.get(f"{USAGE}?{query}"), 400)["param"] == param


def test_a_projects_key_is_refused(http: httpx.Client) -> None:
    expect_error(http.get(f"{USAGE}?start_time=10"), 403)
    expect_error(http.get("/v1/organization/costs?start_time=10"), 403)
