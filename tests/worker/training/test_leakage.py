"""Leakage between a job's files: which rows are the same, and what the warnings say."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.run_folder import RunFolder
from worker.training.leakage import leakage_warnings


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def row(number: int, **keys: Any) -> str:
    return json.dumps({"prompt": f"{number}", "completion": "x", **keys})


def test_rows_of_two_files_are_named_by_their_lines(folder: RunFolder) -> None:
    folder.train_file.write_text("\n".join(row(number) for number in range(1, 9)))
    folder.valid_file.write_text("\n\n".join([row(20), row(3), row(21)]))
    folder.test_file.write_text("\n".join([row(30), row(21), row(8), row(8), row(7)]))
    assert list(leakage_warnings(folder)) == [
        "1 different example(s) of the validation file are also in the training file, so the "
        "validation metrics are too optimistic: line 3 (line 3).",
        "2 different example(s) of the test file are also in the training file, so the "
        "test metrics are too optimistic: line 3 (line 8), line 5 (line 7).",
        "1 different example(s) of the test file are also in the validation file, so the "
        "test metrics are too optimistic: line 2 (line 5).",
    ]


def test_spelling_of_json_and_the_owners_keys_make_no_difference(folder: RunFolder) -> None:
    folder.train_file.write_text(row(1, id="a") + "\n" + row(2))
    same = '\ufeff{"completion" : "x", "metadata": {"n": 1}, "prompt": "\\u0031"}'
    folder.test_file.write_text(same + "\n" + row(3))
    (warning,) = leakage_warnings(folder)
    assert warning.endswith("line 1 (line 1).")


def test_many_are_counted_and_the_first_named(folder: RunFolder) -> None:
    folder.train_file.write_text("\n".join(row(number) for number in range(40)))
    folder.valid_file.write_text("\n".join(row(number) for number in range(40)))
    (warning,) = leakage_warnings(folder)
    assert warning.startswith("40 different example(s)")
    assert warning.endswith("line 5 (line 5) and 35 more.")


def test_files_without_common_rows_cause_no_warning(folder: RunFolder) -> None:
    folder.train_file.write_text(row(1))
    assert list(leakage_warnings(folder)) == []
    folder.test_file.write_text(row(2))
    assert list(leakage_warnings(folder)) == []
