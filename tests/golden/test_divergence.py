"""Divergence on the running stack: noticed, tried again at smaller rates, told in a sentence."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import Stack, run_stack, wait_for_job

pytestmark = [pytest.mark.golden, pytest.mark.timeout(3600)]

# One text with labels of either kind: no rate makes its loss lower than that of a guess.
ROWS = [{"text": "My parcel is late", "label": "abcd"[number * 7 % 4]} for number in range(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=300)


def train(client: OpenAI, **chosen: Any) -> tuple[FineTuningJob, list[str]]:
    """Run a job to its end; return it and the messages of its restarts, first ones first."""
    lines = "\n".join(map(json.dumps, ROWS)).encode()
    file = client.files.create(file=("rows.jsonl", lines), purpose="fine-tune")
    hyperparameters = {"n_epochs": 4, "batch_size": 8, **chosen}
    method: Any = {"type": "classification", "classification": {"hyperparameters": hyperparameters}}
    job = client.fine_tuning.jobs.create(
        model="all-minilm-l6-v2", training_file=file.id, method=method, seed=1
    )
    done = wait_for_job(client, job.id, seconds=3000)
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    restarts = [event.message for event in events if "Training continues from" in event.message]
    assert done.error is not None
    assert (done.status, done.error.code) == ("failed", "training_diverged"), done.error
    assert "is no better than a guess by the labels' shares" in done.error.message
    assert "or there is nothing in it to learn" in done.error.message
    return done, restarts[::-1]


def test_an_auto_rate_is_made_smaller_twice(client: OpenAI) -> None:
    _, restarts = train(client)
    rates = ["0.333 instead of 1.", "0.111 instead of 0.333."]
    assert [message.rpartition("learning_rate_multiplier of ")[2] for message in restarts] == rates
    assert all("Training continues from the start" in message for message in restarts)


def test_a_rate_that_the_owner_chose_stays(client: OpenAI) -> None:
    done, restarts = train(client, learning_rate_multiplier=3)
    assert restarts == []
    assert done.error is not None
    assert done.error.param == "learning_rate_multiplier"
