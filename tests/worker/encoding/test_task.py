"""The task in adapter_config.json, also as versions before 0.1.0 wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.encoding.task import EncoderTask, Method, MissingTask, read_task


def write_config(folder: Path, **config: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(config))


def old_task(method: Method, *, many: bool) -> dict[str, Any]:
    return {
        "method": method,
        "labels": ["a", "b"],
        "many": many,
        "tuning": "full",
        "pooling": "last",
        "length": 64,
        "familiar": "gA==",
    }


def test_a_written_task_is_read(tmp_path: Path) -> None:
    task = EncoderTask(
        method="question_answering",
        allow_no_answer=True,
        pooling="last",
        max_length=64,
        vocab_coverage="gA==",
    )
    write_config(tmp_path, luthier_task=task.to_json())
    assert read_task(tmp_path) == task


def test_an_adapter_without_a_task_is_rejected(tmp_path: Path) -> None:
    write_config(tmp_path, r=4)
    with pytest.raises(MissingTask):
        read_task(tmp_path)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    ("method", "field"),
    [("classification", "multi_label"), ("question_answering", "allow_no_answer")],
)
def test_keys_of_versions_before_0_1_0_are_read(
    tmp_path: Path, method: Method, field: str, many: bool
) -> None:
    write_config(tmp_path, luthier_task=old_task(method, many=many))
    fields: dict[str, Any] = {field: many}
    assert read_task(tmp_path) == EncoderTask(
        method=method,
        labels=("a", "b"),
        tuning="full",
        pooling="last",
        max_length=64,
        vocab_coverage="gA==",
        **fields,
    )
