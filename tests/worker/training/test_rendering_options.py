"""Training attempts: the clock of chat templates, changed rows, and bases without a template."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.worker.training.conftest import MakeRun, events
from worker.model.rendering import Renderer, RenderingOptions
from worker.modeling import ADAPTER_WEIGHTS_FILE, load_tokenizer
from worker.run_folder import ExitCode, Started
from worker.training.attempt import run_attempt

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_settings")]

USER = {"role": "user", "content": "1"}


def read_rendering_options(folder: Path) -> RenderingOptions:
    with safe_open(folder / ADAPTER_WEIGHTS_FILE, framework="pt") as weights:
        return RenderingOptions.from_metadata(weights.metadata())


class TestRendering:
    """Values that templates read elsewhere than in the rows."""

    DATED = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ strftime_now('%d %b %Y') }}\n"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant {{ strftime_now('%d %b %Y') }}\n"
        "{% endif %}"
    )

    @pytest.fixture
    def dated_model(self, tiny_folder: Path, tmp_path: Path) -> dict[str, Any]:
        """The tiny model with a template that shows the date."""
        folder = shutil.copytree(tiny_folder, tmp_path / "dated")
        (folder / "chat_template.jinja").write_text(self.DATED)
        return {
            "id": "dated",
            "source": f"path:{folder}",
            "kind": "causal",
            "methods": ["supervised"],
            "context_length": 512,
        }

    def test_the_clock_of_a_job_stands_still_and_travels_with_the_adapter(
        self, make_run: MakeRun, dated_model: dict[str, Any]
    ) -> None:
        now = "2024-05-06T23:59:00"
        folder = make_run(model=dated_model, rendered_at=now)
        assert run_attempt(folder) == ExitCode.DONE
        state = json.loads((folder.checkpoint(9) / "state.json").read_bytes())
        options = read_rendering_options(folder.checkpoint(9))
        assert options == RenderingOptions(now=now)
        tokenizer = load_tokenizer(Path(dated_model["source"].removeprefix("path:")))
        prompt = Renderer(tokenizer, 512).with_options(options).render_prompt([USER])
        assert "06 May 2024" in str(tokenizer.decode(prompt))
        another_day = make_run("later", model=dated_model, rendered_at="2024-05-07T00:01:00")
        assert run_attempt(another_day) == ExitCode.DONE
        later = json.loads((another_day.checkpoint(9) / "state.json").read_bytes())
        assert later["data"] != state["data"], "the digest sees the date"

    def test_a_job_whose_rows_are_rendered_otherwise_begins_again(
        self, make_run: MakeRun, dated_model: dict[str, Any]
    ) -> None:
        folder = make_run(model=dated_model, rendered_at="2024-05-06T00:00:00")
        folder.stop_file.touch()
        assert run_attempt(folder) == ExitCode.YIELDED
        assert folder.list_checkpoint_steps() == [1]
        folder.stop_file.unlink()
        spec = replace(folder.read_spec(), attempt=2, rendered_at="2024-05-07T00:00:00")
        folder.write_spec(spec)
        assert run_attempt(folder) == ExitCode.DONE
        started = [event for event in events(folder) if isinstance(event, Started)][-1]
        assert (started.from_step, started.has_other_data) == (0, True)
        assert any("starts again" in warning for warning in started.data_warnings)

    def test_a_base_without_a_template_trains_chats_and_says_how(
        self, make_run: MakeRun, dated_model: dict[str, Any]
    ) -> None:
        Path(dated_model["source"].removeprefix("path:"), "chat_template.jinja").unlink()
        folder = make_run(model=dated_model)
        assert run_attempt(folder) == ExitCode.DONE
        (started,) = [event for event in events(folder) if isinstance(event, Started)]
        assert any("has no chat template" in warning for warning in started.data_warnings)
