"""Rendered rows are read again by later attempts, and rendered again if anything has changed."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.training.conftest import MakeRun, chat, events, write_rows
from tests.worker.training.test_dpo import preference
from worker.model.rendering import Renderer
from worker.run_folder import ExitCode, RunFolder, RunSpec, Started
from worker.training import comparison_building
from worker.training.attempt import run_attempt
from worker.training.builder import build_training_loop
from worker.training.chat_data import digest_rows
from worker.training.environment import StopSignal
from worker.training.serving_check.stored import StoredAdapter

pytestmark = pytest.mark.usefixtures("training_settings")

Rendered = list[object]


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Rendered:
    """What is rendered while the test runs."""
    calls: Rendered = []
    render = Renderer.render_example

    def count(renderer: Renderer, *arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return render(renderer, *arguments, **options)

    monkeypatch.setattr(Renderer, "render_example", count)
    return calls


def build(folder: RunFolder) -> tuple[str, str, list[str]]:
    """The rows of a run as it would train on them, and its warnings."""
    loop, _ = build_training_loop(folder, folder.read_spec(), StopSignal(folder))
    valid = loop.validation.rows if loop.validation else ()
    return digest_rows(loop.sampler.rows), digest_rows(valid), list(loop.data_warnings)


def test_an_attempt_that_resumes_renders_nothing(
    make_run: MakeRun, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run()
    folder.stop_file.touch()
    assert run_attempt(folder) == ExitCode.YIELDED
    assert len(rendered) == 12
    folder.stop_file.unlink()
    rendered.clear()
    # The check of the stored adapter, and the comparison with the engine, render a client's rows.
    stored = StoredAdapter("kind", 0.0)
    monkeypatch.setattr(comparison_building, "check_stored", lambda *_arguments: stored)
    folder.write_spec(RunSpec(**{**vars_of(folder), "compare_with_engine": False}))
    assert run_attempt(folder) == ExitCode.DONE
    assert rendered == []
    assert [event.from_step for event in events(folder) if isinstance(event, Started)][-1] == 1


def vars_of(folder: RunFolder) -> dict[str, Any]:
    spec = folder.read_spec()
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_the_rows_are_the_same(make_run: MakeRun, rendered: Rendered, method: str) -> None:
    folder = make_run(method=method, hyperparameters={"max_seq_length": 160})
    make: Callable[[int], dict[str, Any]] = chat if method == "supervised" else preference
    rows = [make(number) for number in range(12)]
    key = "messages" if method == "supervised" else "non_preferred_output"
    rows[4][key][-1]["content"] = "n" * 300
    write_rows(folder.train_file, rows)
    write_rows(folder.valid_file, rows[6:9])
    first = build(folder)
    assert "1 of 12 examples" in first[2][0]
    count = len(rendered)
    assert build(folder) == first
    assert len(rendered) == count


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "folder"])
def test_damaged_rows_are_rendered_again(
    make_run: MakeRun, rendered: Rendered, damage: str
) -> None:
    folder = make_run()
    first = build(folder)
    path = folder.rows / "training_file.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({"flipped": content, "cut": content[:-9], "empty": b""}[damage])
    rendered.clear()
    assert build(folder) == first
    assert len(rendered) == 12


def change_file(folder: RunFolder) -> None:
    write_rows(folder.train_file, [chat(number) for number in range(1, 13)])


def change_length(folder: RunFolder) -> None:
    folder.write_spec(RunSpec(**{**vars_of(folder), "hyperparameters": {"max_seq_length": 200}}))


def change_policy(folder: RunFolder) -> None:
    folder.write_spec(RunSpec(**{**vars_of(folder), "hyperparameters": {"long_rows": "drop"}}))


def change_time(folder: RunFolder) -> None:
    folder.write_spec(RunSpec(**{**vars_of(folder), "rendered_at": "2020-01-01T00:00:00"}))


def change_template(folder: RunFolder) -> None:
    model = folder.read_spec().model
    copy = shutil.copytree(model["source"].removeprefix("path:"), folder.path / "changed")
    template = copy / "chat_template.jinja"
    template.write_text("{# changed #}" + template.read_text(encoding="utf-8"), encoding="utf-8")
    spec = {**vars_of(folder), "model": {**model, "source": f"path:{copy}"}}
    folder.write_spec(RunSpec(**spec))


@pytest.mark.parametrize(
    "change", [change_file, change_length, change_policy, change_time, change_template]
)
def test_what_rows_depend_on_is_in_their_key(
    make_run: MakeRun, rendered: Rendered, change: Callable[[RunFolder], None]
) -> None:
    folder = make_run()
    build(folder)
    change(folder)
    rendered.clear()
    build(folder)
    assert len(rendered) == 12
