"""Webhooks of jobs are delivered and verify with the official client."""

import json

import pytest
from openai import NotFoundError, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import BASE, Stack, WebhookEndpoint
from tests.polling import wait_until

pytestmark = pytest.mark.live


def wait_for_webhook(
    webhook_endpoint: WebhookEndpoint, job_id: str
) -> tuple[dict[str, str], bytes]:
    """Wait for the webhook of a job; its headers and body."""

    def deliveries() -> list[tuple[dict[str, str], bytes]]:
        return [
            (headers, body)
            for headers, body in list(webhook_endpoint.receiver.requests)
            if job_id.encode() in body
        ]

    wait_until("the webhook was delivered", deliveries)
    return deliveries()[0]


def test_a_succeeded_job_sends_a_webhook(
    client: OpenAI, succeeded_job: FineTuningJob, webhook_endpoint: WebhookEndpoint
) -> None:
    headers, body = wait_for_webhook(webhook_endpoint, succeeded_job.id)
    # It may be long ago: other tests ran since.
    client.webhooks.verify_signature(body, headers, secret=webhook_endpoint.secret, tolerance=3600)
    event = json.loads(body)
    assert event["type"] == "fine_tuning.job.succeeded"
    assert event["data"]["id"] == succeeded_job.id
    assert event["created_at"] == succeeded_job.finished_at


def test_a_cancelled_job_sends_a_webhook_that_is_listed(
    client: OpenAI, training_file: str, webhook_endpoint: WebhookEndpoint, stack: Stack
) -> None:
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training_file)
    client.fine_tuning.jobs.cancel(job.id)
    headers, body = wait_for_webhook(webhook_endpoint, job.id)
    event = client.webhooks.unwrap(body, headers, secret=webhook_endpoint.secret)
    assert event.type == "fine_tuning.job.cancelled"
    assert event.data.id == job.id
    with stack.http() as http:
        deliveries = http.get(
            f"/v1/webhook_endpoints/{webhook_endpoint.endpoint_id}/deliveries"
        ).json()["data"]
    (delivery,) = (each for each in deliveries if each["event_id"] == event.id)
    assert delivery["status"] in ("succeeded", "pending")
    assert webhook_endpoint.secret[6:] not in "".join(
        path.read_text(errors="replace") for path in stack.home.glob("logs/*.log")
    )


def test_a_test_webhook_is_sent(client: OpenAI, webhook_endpoint: WebhookEndpoint) -> None:
    result = client.webhooks.test(webhook_endpoint.endpoint_id, event_type="fine_tuning.job.failed")
    assert (result.success, result.status_code) == (True, 204)


def test_life_cycle_of_an_endpoint(client: OpenAI) -> None:
    offered = client.webhooks.event_types.list().data
    assert "fine_tuning.job.succeeded" in str(offered)
    created = client.webhooks.create(
        name="pager", url="https://example.com/hook", event_types=["fine_tuning.job.failed"]
    )
    renamed = client.webhooks.update(created.id, name="night pager")
    assert client.webhooks.retrieve(created.id).name == renamed.name == "night pager"
    assert created.id in [endpoint.id for endpoint in client.webhooks.list()]
    rotated = client.webhooks.rotate_secret(created.id)
    assert rotated.signing_secret != created.signing_secret
    assert client.webhooks.delete(created.id).deleted
    with pytest.raises(NotFoundError):
        client.webhooks.retrieve(created.id)
