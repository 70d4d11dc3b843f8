"""Answers that are asked of the engine."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.worker.training.conftest import chat, write_rows
from worker.model.rendering import Renderer, RenderingError
from worker.training.serving_check.rows import MAX_ROWS, MAX_TOKENS, select_rows

USER = {"role": "user", "content": "1"}
YES, NO = ({"role": "assistant", "content": content} for content in ("yes", "no"))


@pytest.fixture
def renderer(tokenizer: PreTrainedTokenizerFast) -> Renderer:
    return Renderer(tokenizer, 4096)


def write_chats(path: Path, *chats: list[dict[str, Any]]) -> Path:
    write_rows(path / "file", [{"messages": messages} for messages in chats])
    return path / "file"


def test_the_last_answer_of_each_chat_that_is_learned(renderer: Renderer, tmp_path: Path) -> None:
    file = write_chats(tmp_path, [USER, YES, USER, NO], [USER, {**NO, "weight": 0}, USER, YES])
    rows = select_rows(file, renderer)
    for row, first, answer in zip(rows, (YES, NO), ("no", "yes"), strict=True):
        prompt = renderer.render_prompt([USER, first, USER])
        assert row.ids[: row.start].tolist() == row.render_prompt(renderer) == prompt
        assert row.ids[row.start :].tolist() == renderer.encode_text(f"{answer}<|im_end|>")


def test_their_number_and_tokens_are_bounded(renderer: Renderer, tmp_path: Path) -> None:
    write_rows(tmp_path / "file", [chat(number) for number in range(20)])
    assert len(select_rows(tmp_path / "file", renderer)) == MAX_ROWS
    long, longer = ({"prompt": "e " * number, "completion": "a " * 500} for number in (1100, 1500))
    write_rows(tmp_path / "file", [longer, long, longer])
    (row,) = select_rows(tmp_path / "file", renderer)
    assert (row.number, row.start) == (2, 2200)
    assert len(row.ids) > MAX_TOKENS
    assert len(row.ids) - row.start < 500


def test_an_answer_without_a_prompt_is_left_out(renderer: Renderer, tmp_path: Path) -> None:
    """No client can ask for the first message of a chat."""
    file = write_chats(tmp_path, [YES], [YES, USER, NO])
    assert [row.number for row in select_rows(file, renderer)] == [2]


def test_an_answer_whose_prompt_the_template_refuses_is_left_out(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = Renderer.render_prompt

    def refuse(self: Renderer, messages: Any, tools: Any = None) -> list[int]:
        if messages[-1]["content"] == "refused":
            raise RenderingError("Conversation roles must alternate.")
        return render(self, messages, tools)

    monkeypatch.setattr(Renderer, "render_prompt", refuse)
    file = write_chats(tmp_path, [{**USER, "content": "refused"}, NO], [USER, YES])
    assert [row.number for row in select_rows(file, renderer)] == [2]


def test_an_answer_that_is_learned_after_another_prompt_is_left_out(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_chats(tmp_path, [USER, YES])
    assert len(select_rows(file, renderer)) == 1
    render = Renderer.render_prompt
    monkeypatch.setattr(
        Renderer, "render_prompt", lambda self, *arguments: render(self, *arguments)[1:]
    )
    assert select_rows(file, renderer) == []
