"""Evaluation of a test file: greedy answers of both models, their metrics, and resuming."""

from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from safetensors.torch import load_file, save_file

from app.catalog import CatalogModel
from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from worker.evaluation.evaluate import evaluate
from worker.evaluation.test_rows import MAX_TEST_ROWS, read_test_rows
from worker.model.rendering import Renderer
from worker.model_sources import materialize
from worker.modeling import ADAPTER_WEIGHTS_FILE, load_adapter, load_base, load_tokenizer
from worker.run_folder import (
    Evaluated,
    EvaluatedModel,
    ExitCode,
    RunFolder,
    TestAnswer,
    write_manifest,
)
from worker.training.attempt import run_attempt

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]


class StopAtFirstAnswer:
    """A stop that is requested once a row is answered."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def __bool__(self) -> bool:
        return bool(answers(self._folder))


NEVER: Any = False


@pytest.fixture
def trained(make_run: MakeRun) -> RunFolder:
    folder = make_run(
        hyperparameters={"n_epochs": 12, "batch_size": 4, "learning_rate_multiplier": 4.0},
        test_metrics=["bleu"],
    )
    assert run_attempt(folder) == ExitCode.DONE
    write_rows(folder.test_file, [chat(number) for number in range(7)])
    return folder


def answers(folder: RunFolder) -> list[TestAnswer]:
    return [event for event in events(folder) if isinstance(event, TestAnswer)]


def test_both_models_answer_every_row(trained: RunFolder) -> None:
    assert evaluate(trained, NEVER) == ExitCode.DONE
    given = answers(trained)
    assert sorted((answer.model, answer.row) for answer in given) == sorted(
        (model, row) for model in EvaluatedModel for row in range(1, 8)
    )
    report = events(trained)[-1]
    assert isinstance(report, Evaluated)
    content = report.report
    assert (content["rows"], content["measured_rows"], content["skipped_rows"]) == (7, 7, 0)
    rows = content["answers"]
    assert rows[2]["reference"] == "after it comes 3"
    assert [row["base"] for row in rows] != [row["tuned"] for row in rows]
    by_row = {(str(answer.model), answer.row): answer.text for answer in given}
    for name in ("base", "tuned"):
        assert [row[name] for row in rows] == [by_row[name, row["row"]] for row in rows]
        outputs, references = [row[name] for row in rows], [row["reference"] for row in rows]
        assert content[name]["bleu"] == sacrebleu.corpus_bleu(outputs, [references]).score
        assert "chrf" not in content[name]


def test_the_answers_are_greedy_continuations_of_the_served_prompt(trained: RunFolder) -> None:
    assert evaluate(trained, NEVER) == ExitCode.DONE
    spec = trained.read_spec()

    folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer, 512)
    base = load_base(folder, dtype=torch.float32, device=torch.device("cpu"))
    row = read_test_rows(trained.test_file, renderer).rows[0]
    output = base.generate(
        torch.tensor([row.prompt]),
        do_sample=False,
        max_new_tokens=row.max_new_tokens,
        eos_token_id=sorted(renderer.stop_ids),
        pad_token_id=0,
    )
    new = [id for id in output[0, len(row.prompt) :].tolist() if id not in renderer.stop_ids]
    expected = tokenizer.decode(new, skip_special_tokens=False)
    (answer,) = [answer for answer in answers(trained) if (answer.model, answer.row) == ("base", 1)]
    assert answer.text == expected
    assert load_adapter(trained.checkpoint(36)).tensors


def test_an_interrupted_evaluation_goes_on_with_the_missing_rows(trained: RunFolder) -> None:
    stop: Any = StopAtFirstAnswer(trained)
    assert evaluate(trained, stop) == ExitCode.YIELDED
    first = answers(trained)
    assert 0 < len(first) < 14
    assert not any(isinstance(event, Evaluated) for event in events(trained))
    trained.write_test_answers(first)
    assert evaluate(trained, NEVER) == ExitCode.DONE
    keys = [(answer.model, answer.row) for answer in answers(trained)]
    assert len(keys) == len(set(keys)) == 14


def test_answers_of_other_weights_are_generated_again(trained: RunFolder) -> None:
    """Only those of the tuned model: the base and the prompts are the same."""
    assert evaluate(trained, NEVER) == ExitCode.DONE
    first = answers(trained)
    trained.write_test_answers(first)
    step = trained.checkpoint(36)
    weights = load_file(step / ADAPTER_WEIGHTS_FILE)
    save_file({name: tensor * 2 for name, tensor in weights.items()}, step / ADAPTER_WEIGHTS_FILE)
    write_manifest(step)
    assert evaluate(trained, NEVER) == ExitCode.DONE
    again = answers(trained)[len(first) :]
    assert [answer.model for answer in again] == ["tuned"] * 7
    assert not {answer.origin for answer in again} & {answer.origin for answer in first}


def test_rows_that_cannot_be_compared_are_counted(trained: RunFolder) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calling = {"role": "assistant", "tool_calls": [call]}
    long = {"role": "user", "content": "much " * 2_000}
    user, answer = {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}
    rows = [[user, calling], [long, answer], [user, answer]]
    write_rows(trained.test_file, [{"messages": row} for row in rows])
    assert evaluate(trained, NEVER) == ExitCode.DONE
    report = events(trained)[-1]
    assert isinstance(report, Evaluated)
    assert (report.report["measured_rows"], report.report["skipped_rows"]) == (1, 2)
    assert [row["row"] for row in report.report["answers"]] == [3]


def test_of_a_long_file_rows_at_equal_distances_are_measured(trained: RunFolder) -> None:
    row = {"prompt": "1", "completion": "2"}
    write_rows(trained.test_file, [row] * (2 * MAX_TEST_ROWS + 1))

    spec = trained.read_spec()
    folder = materialize(CatalogModel.from_json(spec.model), Path(spec.model_cache))
    rows = read_test_rows(trained.test_file, Renderer(load_tokenizer(folder), 512))
    assert (rows.total, len(rows.rows), rows.skipped) == (2 * MAX_TEST_ROWS + 1, MAX_TEST_ROWS, 0)
    assert [row.number for row in rows.rows[:3]] == [1, 3, 5]
