"""Processes are killed in the middle of an eval run: its result is that of an undisturbed one."""

from typing import Any

import pytest

from tests.faults.scenario import MODEL, Scenario
from tests.faults.test_batches import run_engine
from tests.polling import wait_until

ENDED = ("completed", "failed", "canceled")
# Of each ten items, one is expected to get another answer.
WRONG = 10
EVAL = {
    "name": "echo",
    "data_source_config": {
        "type": "custom",
        "item_schema": {"type": "object", "properties": {"text": {}, "expected": {}}},
        "include_sample_schema": True,
    },
    "testing_criteria": [
        {
            "type": "string_check",
            "name": "exact",
            "input": "{{ sample.output_text }}",
            "reference": "{{ item.expected }}",
            "operation": "eq",
        },
        {
            "type": "classification",
            "name": "label",
            "input": "{{ sample.output_text }}",
            "reference": "{{ item.expected }}",
        },
    ],
}


def make_item(number: int) -> dict[str, Any]:
    expected = f"echo: text {number}" if number % WRONG else "silence"
    return {"item": {"text": f"text {number}", "expected": expected}}


def create_run(scenario: Scenario, eval_id: str, count: int) -> str:
    """Create a run; its path."""
    source = {
        "type": "completions",
        "model": MODEL,
        "source": {
            "type": "file_content",
            "content": [make_item(number) for number in range(count)],
        },
        "input_messages": {
            "type": "template",
            "template": [{"role": "user", "content": "{{ item.text }}"}],
        },
    }
    path = f"/v1/evals/{eval_id}/runs"
    created = scenario.request("POST", path, json={"data_source": source})
    assert created.status_code == 201, created.text
    return f"{path}/{created.json()['id']}"


def get_run(scenario: Scenario, path: str) -> dict[str, Any]:
    run: dict[str, Any] = scenario.request("GET", path).json()
    return run


def wait_for_items(scenario: Scenario, path: str, count: int) -> None:
    wait_until(
        f"{count} items are done",
        lambda: get_run(scenario, path)["result_counts"]["total"] >= count,
    )


def read_result(scenario: Scenario, path: str) -> tuple[dict[str, Any], list[Any]]:
    """What a run that has ended has given, without what is its own."""
    wait_until(
        "the run has ended",
        lambda: get_run(scenario, path)["status"] in ENDED,
        seconds=900,
    )
    run = get_run(scenario, path)
    assert run["status"] == "completed", run
    items, after = [], ""
    while True:
        page = scenario.request("GET", f"{path}/output_items?limit=100{after}").json()
        items += page["data"]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    names = ("result_counts", "per_model_usage", "per_testing_criteria_results")
    own = ("id", "run_id", "created_at")
    return (
        {name: run[name] for name in names},
        [{name: value for name, value in item.items() if name not in own} for item in items],
    )


@pytest.mark.parametrize("count", [500])
def test_f49_the_worker_and_the_engine_are_killed_in_an_eval_run(
    scenario: Scenario, count: int
) -> None:
    with run_engine() as engine:
        scenario.start("api-1", "io-1", engine_url=engine.url)
        eval_id = scenario.request("POST", "/v1/evals", json=EVAL).json()["id"]
        disturbed = create_run(scenario, eval_id, count)
        wait_for_items(scenario, disturbed, count // 10)
        scenario["io-1"].kill()
        scenario.start("io-2", engine_url=engine.url)
        wait_for_items(scenario, disturbed, count // 2)
        engine.kill()
        engine.start()
        found = read_result(scenario, disturbed)
        undisturbed = create_run(scenario, eval_id, count)
        assert found == read_result(scenario, undisturbed)
    sums, items = found
    assert [item["datasource_item_id"] for item in items] == list(range(count))
    failed = -(-count // WRONG)
    counts = {"total": count, "errored": 0, "failed": failed, "passed": count - failed}
    assert sums["result_counts"] == counts
    (usage,) = sums["per_model_usage"]
    assert usage["invocation_count"] == count
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3 * count, 2 * count)
    statement = "SELECT sum(requests) FROM token_usage"
    assert scenario.query_value(statement) == 2 * count
