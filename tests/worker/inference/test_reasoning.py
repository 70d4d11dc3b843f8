"""Reasoning: switches reach a template that reads them, and `<think>` parts are no content."""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from app.catalog import CatalogModel
from app.wire.engine import ChatCompletionRequest
from tests.worker.inference.answers.test_families import get_renderer
from tests.worker.inference.running_engine import EngineClient, catalog_entry, running_engine
from tests.worker.inference.scripted import Script, script_answers
from tests.worker.model.rendering.shipped.families import BY_NAME

ASK: Any = [{"role": "user", "content": "Three and three?"}]
THOUGHT = "<think>\nThree and three are six.\n</think>\n\nSix."


def render(family: str, **switches: Any) -> str:
    """Render the prompt of a request, as the engine does."""
    body = {"model": "m", "messages": ASK, **switches}
    request = ChatCompletionRequest.model_validate(body)
    renderer = get_renderer(family)
    return str(renderer.tokenizer.decode(renderer.render_chat(ASK, [], request.switches).ids))


def test_qwen3_is_told_not_to_think() -> None:
    closed = "<think>\n\n</think>\n\n"
    thinking = {"enable_thinking": True}
    assert render("Qwen3", chat_template_kwargs={"enable_thinking": False}).endswith(closed)
    assert render("Qwen3", reasoning_effort="none").endswith(closed)
    assert not render("Qwen3", chat_template_kwargs=thinking).endswith(closed)


@pytest.mark.parametrize("effort", ["low", "high"])
def test_gpt_oss_is_told_how_much_to_think(effort: str) -> None:
    assert f"Reasoning: {effort}" in render("gpt-oss", reasoning_effort=effort)
    kwargs = {"reasoning_effort": effort}
    assert f"Reasoning: {effort}" in render("gpt-oss", chat_template_kwargs=kwargs)
    assert "Reasoning: medium" in render("gpt-oss")


@pytest.mark.parametrize("family", [name for name in BY_NAME if name not in ("gpt-oss",)])
def test_other_templates_accept_them_without_effect(family: str) -> None:
    plain = render(family)
    assert render(family, chat_template_kwargs={"colour": "blue"}) == plain
    if "reasoning_effort" not in str(get_renderer(family).tokenizer.chat_template):
        assert render(family, reasoning_effort="high") == plain


@pytest.fixture(scope="module")
def engine(
    base_folder: Path,
    base_model: CatalogModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EngineClient]:
    """An engine of a model with Qwen3's template."""
    home = tmp_path_factory.mktemp("engine")
    folder = shutil.copytree(base_folder, home / "qwen3")
    template = distribution("trl").locate_file("trl/chat_templates/qwen3.jinja")
    (folder / "chat_template.jinja").write_text(Path(str(template)).read_text())
    entry = catalog_entry(base_model, source=f"path:{folder}", context_length=4096)
    with running_engine(home, entry) as engine:
        yield engine


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast) -> Script:
    script = script_answers(monkeypatch, tokenizer)
    script.write(THOUGHT)
    return script


def ask(engine: EngineClient, **fields: Any) -> str:
    body = {"model": "tiny", "messages": ASK, "max_tokens": 300, **fields}
    response = engine.http("POST", "/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.text


def test_a_whole_answer_has_its_reasoning_apart(engine: EngineClient, script: Script) -> None:
    message = json.loads(ask(engine))["choices"][0]["message"]
    assert message["reasoning_content"] == "Three and three are six."
    assert message["content"] == "Six."


def test_a_stream_has_its_reasoning_apart(engine: EngineClient, script: Script) -> None:
    lines = [line.removeprefix("data: ") for line in ask(engine, stream=True).split("\n\n")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines if line.startswith("{")]
    parts = {
        name: "".join(delta.get(name) or "" for delta in deltas)
        for name in ("reasoning_content", "content")
    }
    assert parts == {"reasoning_content": "Three and three are six.", "content": "Six."}
    thoughts = [bool(delta.get("reasoning_content")) for delta in deltas]
    contents = [bool(delta.get("content")) for delta in deltas]
    assert thoughts.count(True) > 5, "it is streamed while it is generated"
    assert len(thoughts) - thoughts[::-1].index(True) <= contents.index(True)


def test_a_model_that_is_told_not_to_think_has_content_alone(
    engine: EngineClient, script: Script
) -> None:
    script.write("Six.")
    answer = ask(engine, chat_template_kwargs={"enable_thinking": False})
    message = json.loads(answer)["choices"][0]["message"]
    assert message["content"] == "Six."
    assert not message.get("reasoning_content")
