"""A job of 60 rows that call functions: the tuned model calls the right one, with its arguments."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.contract.running_stack import BASE, Stack, run_stack, wait_for_job
from tests.function_calls import TOOLS, make_questions, make_row

pytestmark = [pytest.mark.golden, pytest.mark.timeout(3600)]

NUM_ROWS, NUM_HELD_OUT = 60, 20
MIN_RIGHT = 0.9


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="luthier-golden-"))
    with run_stack(home, tmp_path_factory.mktemp("luthier") / "up.log") as running:
        yield running
    shutil.rmtree(home)


def count_right(client: OpenAI, model: str, asked: list[tuple[str, str, dict[str, Any]]]) -> int:
    """Count the questions that are answered with exactly the right call."""
    num_right = 0
    for question, function, arguments in asked:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            tools=TOOLS,
            temperature=0,
            max_completion_tokens=60,
        )
        calls: Any = answer.choices[0].message.tool_calls or []
        said = [(call.function.name, call.function.arguments) for call in calls]
        right = [(function, arguments)]
        num_right += [(name, json.loads(text)) for name, text in said if is_json(text)] == right
    return num_right


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_the_right_function_is_called_with_the_right_arguments(stack: Stack) -> None:
    client = OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=300)
    questions = make_questions()
    rows = [make_row(*next(questions)) for _ in range(NUM_ROWS)]
    held_out = [next(questions) for _ in range(NUM_HELD_OUT)]
    file = client.files.create(file=("calls.jsonl", "\n".join(rows).encode()), purpose="fine-tune")
    hyperparameters: Any = {"n_epochs": 4, "batch_size": 4}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id, method=method, seed=1)
    job = wait_for_job(client, job.id, seconds=3000)
    assert job.status == "succeeded", job.error
    tuned = count_right(client, job.fine_tuned_model or "", held_out)
    base = count_right(client, BASE, held_out)
    assert tuned >= MIN_RIGHT * NUM_HELD_OUT, f"base: {base}"
    assert base < tuned
