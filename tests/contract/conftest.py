"""Fixtures: the whole stack, started by `luthier up`, and one succeeded job, for all tests here."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import (
    BASE,
    ROWS,
    Stack,
    WebhookEndpoint,
    chat_file,
    run_stack,
    wait_for_job,
)
from tests.webhook_receivers import run_receiver

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Each wait has its own timeout and message. The first test runs all session fixtures, which
    # may exceed the default timeout on a busy machine.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """LUTHIER_HOME of the stack. Its logs are copied to pytest's folder at the end."""
    # Not below pytest's folder: for root, Postgres runs as another user, whom a second pytest locks
    # out when it starts.
    home = Path(tempfile.mkdtemp(prefix="luthier-live-"))
    yield home
    if (home / "logs").exists():
        shutil.copytree(home / "logs", tmp_path_factory.mktemp("luthier-logs"), dirs_exist_ok=True)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def stack(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> OpenAI:
    return OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=stack.key,
        max_retries=0,
        timeout=120,
        _strict_response_validation=True,
    )


@pytest.fixture(scope="session")
def lenient_client(stack: Stack) -> OpenAI:
    """The SDK with its default, lenient validation: its types lack our extensions."""
    return OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def training_file(client: OpenAI) -> str:
    return client.files.create(file=("desk.jsonl", chat_file(ROWS)), purpose="fine-tune").id


@pytest.fixture(scope="session")
def validation_file(client: OpenAI) -> str:
    rows = [("My invoice shows the wrong name.", "desk=billing; urgency=low")]
    return client.files.create(file=("held.jsonl", chat_file(rows)), purpose="fine-tune").id


@pytest.fixture(scope="session")
def webhook_endpoint(client: OpenAI) -> Iterator[WebhookEndpoint]:
    """A registered endpoint that receives the webhooks of all jobs from now on."""
    with run_receiver() as receiver:
        endpoint = client.webhooks.create(
            name="tests",
            url=receiver.url,
            event_types=[
                "fine_tuning.job.succeeded",
                "fine_tuning.job.failed",
                "fine_tuning.job.cancelled",
            ],
        )
        yield WebhookEndpoint(receiver, endpoint.id, endpoint.signing_secret)
        client.webhooks.delete(endpoint.id)


@pytest.fixture(scope="session")
def succeeded_job(
    client: OpenAI, training_file: str, validation_file: str, webhook_endpoint: WebhookEndpoint
) -> FineTuningJob:
    """A succeeded job: 12 rows in batches of 6 and 3 epochs, so 6 steps."""
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=training_file,
        validation_file=validation_file,
        suffix="front-desk",
        seed=7,
        metadata={"team": "desk"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 6}},
        },
    )
    done = wait_for_job(client, job.id)
    assert done.status == "succeeded", done.error
    return done
