"""Sweeps on the running stack: jobs of a tiny model, the best of which is named and answers."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from transformers import LlamaConfig

from tests.contract.running_stack import Stack, run_stack
from tests.golden.test_exports import PROMPT, SIZES, SUMS, make_base
from tests.polling import wait_until

pytestmark = [pytest.mark.golden, pytest.mark.timeout(3600)]

RATE = "learning_rate_multiplier"
HELD_OUT = [
    {"prompt": f"hello world, what is {n} + 5?", "completion": f" it is {n + 5}"} for n in range(4)
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("luthier")
    make_base(folder / "llama", LlamaConfig(**SIZES))
    catalog = folder / "models.toml"
    catalog.write_text(
        f'[[model]]\nid = "llama"\nsource = "path:{folder / "llama"}"\nkind = "causal"\n'
        'methods = ["supervised"]\ncontext_length = 512\n'
    )
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    with run_stack(home, folder / "up.log", LUTHIER_MODELS_FILE=str(catalog)) as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def client(stack: Stack) -> OpenAI:
    return OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=300)


@pytest.fixture(scope="module")
def files(client: OpenAI) -> dict[str, str]:
    return {
        role: client.files.create(
            file=(f"{role}.jsonl", "\n".join(map(json.dumps, rows)).encode()), purpose="fine-tune"
        ).id
        for role, rows in (("training_file", SUMS), ("validation_file", HELD_OUT))
    }


def run_sweep(client: OpenAI, files: dict[str, str], **body: Any) -> dict[str, Any]:
    """Run a sweep to its end, as a client does, and return it."""
    hyperparameters = {"batch_size": 4, **body.pop("hyperparameters", {})}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    request = {"job": {"model": "llama", "method": method, **files}, "metric": "valid_loss"}
    sweep: Any = client.post("/fine_tuning/sweeps", cast_to=object, body=request | body)
    path = f"/fine_tuning/sweeps/{sweep['id']}"

    def get() -> Any:
        return client.get(path, cast_to=object)

    wait_until("the sweep has ended", lambda: get()["status"] != "running", seconds=3000)
    return dict(get())


def read_losses(client: OpenAI, job_id: str) -> list[float]:
    """The losses of a job on its whole validation file, after each epoch, from its events."""
    events = client.fine_tuning.jobs.list_events(job_id, limit=100).data
    values = [event.data for event in events if event.type == "metrics"]
    return [data["full_valid_loss"] for data in values if "full_valid_loss" in data]  # type: ignore[index, operator]


def check_best(client: OpenAI, sweep: dict[str, Any]) -> None:
    """Check the choice against what the jobs say themselves, and use the chosen model."""
    losses = {
        trial["index"]: min(read_losses(client, trial["job_id"])) for trial in sweep["trials"]
    }
    assert {trial["index"]: trial["value"] for trial in sweep["trials"]} == pytest.approx(losses)
    best = sweep["best"]
    assert best["trial"] == min(losses, key=lambda index: losses[index])
    job = client.fine_tuning.jobs.retrieve(best["job_id"])
    assert job.fine_tuned_model == best["fine_tuned_model"]
    chosen = job.hyperparameters.to_dict()
    assert {name: chosen[name] for name in best["hyperparameters"]} == best["hyperparameters"]
    expected = f"valid_loss {best['value']:.6g}, lowest of {len(losses)} finished trials"
    assert sweep["why"] == expected
    answer = client.completions.create(model=job.fine_tuned_model or "", prompt=PROMPT)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_grid_of_two_by_two_names_the_best(client: OpenAI, files: dict[str, str]) -> None:
    space = {RATE: {"values": [0.001, 10]}, "n_epochs": {"values": [1, 4]}}
    sweep = run_sweep(client, files, space=space, strategy="grid", max_jobs=4, seed=1)
    assert sweep["status"] == "succeeded", sweep["error"]
    check_best(client, sweep)
    # More training at a rate that moves the weights is better, by far.
    assert sweep["best"]["hyperparameters"] == {RATE: 10, "n_epochs": 4}
    first, _, _, last = (trial["value"] for trial in sweep["trials"])
    assert last < first - 0.5


def test_halving_trains_the_survivor_for_longer(client: OpenAI, files: dict[str, str]) -> None:
    sweep = run_sweep(
        client,
        files,
        space={RATE: {"min": 0.01, "max": 20, "scale": "log"}},
        strategy="halving",
        max_jobs=4,
        hyperparameters={"n_epochs": 3},
        seed=1,
    )
    assert sweep["status"] == "succeeded", sweep["error"]
    check_best(client, sweep)
    epochs = [trial["hyperparameters"]["n_epochs"] for trial in sweep["trials"]]
    assert epochs == [1, 1, 1, 3]
    short = sorted(sweep["trials"][:3], key=lambda trial: trial["value"])
    assert sweep["trials"][3]["hyperparameters"][RATE] == short[0]["hyperparameters"][RATE]
