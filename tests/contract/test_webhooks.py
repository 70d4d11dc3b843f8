"""Jobs' ends reach a receiver that verifies them with the official client."""

from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.live import BASE, Hooks, Stack, wait_until

pytestmark = pytest.mark.live


def events(client: OpenAI, hooks: Hooks) -> dict[str, Any]:
    """What was received and verified, by the id of its job."""
    unwrapped = [
        client.webhooks.unwrap(body, headers, secret=hooks.secret)
        for headers, body in list(hooks.receiver.requests)
    ]
    return {event.data.id: event for event in unwrapped if hasattr(event.data, "id")}


def test_a_finished_job_is_told_of(client: OpenAI, tuned: FineTuningJob, hooks: Hooks) -> None:
    wait_until("the webhook has come", lambda: tuned.id in events(client, hooks))
    event = events(client, hooks)[tuned.id]
    assert event.type == "fine_tuning.job.succeeded"
    assert event.created_at == tuned.finished_at


def test_a_cancelled_job_is_told_of_and_logged(
    client: OpenAI, training_file: str, hooks: Hooks, stack: Stack
) -> None:
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training_file)
    client.fine_tuning.jobs.cancel(job.id)
    wait_until("the webhook has come", lambda: job.id in events(client, hooks))
    event = events(client, hooks)[job.id]
    assert event.type == "fine_tuning.job.cancelled"
    with stack.http() as http:
        log = http.get(f"/v1/webhook_endpoints/{hooks.endpoint_id}/deliveries").json()["data"]
    (mine,) = (each for each in log if each["event_id"] == event.id)
    assert mine["status"] in ("succeeded", "pending")
    assert hooks.secret[6:] not in "".join(
        path.read_text(errors="replace") for path in stack.home.glob("logs/*.log")
    )


def test_a_sample_is_sent(client: OpenAI, hooks: Hooks) -> None:
    tested = client.webhooks.test(hooks.endpoint_id, event_type="fine_tuning.job.failed")
    assert (tested.success, tested.status_code) == (True, 204)
