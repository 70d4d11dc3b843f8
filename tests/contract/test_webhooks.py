"""Jobs' ends reach a receiver that verifies them with the official client."""

import json

import pytest
from openai import NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, Hooks, Stack
from tests.polling import wait_until

pytestmark = pytest.mark.live


def received(hooks: Hooks, job_id: str) -> tuple[dict[str, str], bytes]:
    """Head and body of what was told of a job, once it has come."""

    def told() -> list[tuple[dict[str, str], bytes]]:
        return [one for one in list(hooks.receiver.requests) if job_id.encode() in one[1]]

    wait_until("the webhook has come", told)
    return told()[0]


def test_a_finished_job_is_told_of(client: OpenAI, tuned: FineTuningJob, hooks: Hooks) -> None:
    headers, body = received(hooks, tuned.id)
    # It may have come long ago, with other tests since.
    client.webhooks.verify_signature(body, headers, secret=hooks.secret, tolerance=3600)
    event = json.loads(body)
    assert event["type"] == "fine_tuning.job.succeeded"
    assert event["data"]["id"] == tuned.id
    assert event["created_at"] == tuned.finished_at


def test_a_cancelled_job_is_told_of_and_logged(
    client: OpenAI, training_file: str, hooks: Hooks, stack: Stack
) -> None:
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training_file)
    client.fine_tuning.jobs.cancel(job.id)
    headers, body = received(hooks, job.id)
    event = client.webhooks.unwrap(body, headers, secret=hooks.secret)
    assert event.type == "fine_tuning.job.cancelled"
    assert event.data.id == job.id
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


def test_an_endpoint_from_its_making_to_its_end(client: OpenAI) -> None:
    offered = client.webhooks.event_types.list().data
    assert "fine_tuning.job.succeeded" in str(offered)
    made = client.webhooks.create(
        name="pager", url="https://example.com/hook", event_types=["fine_tuning.job.failed"]
    )
    renamed = client.webhooks.update(made.id, name="night pager")
    assert client.webhooks.retrieve(made.id).name == renamed.name == "night pager"
    assert made.id in [endpoint.id for endpoint in client.webhooks.list()]
    rotated = client.webhooks.rotate_secret(made.id)
    assert rotated.signing_secret != made.signing_secret
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        client.webhooks.retrieve(made.id)
