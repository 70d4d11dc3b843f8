"""Single answers of a chat: the prompt that serving renders before each, and the text to learn."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model.rendering.errors import RenderingError
from worker.model.rendering.template import ChatTemplate, PreparedChat
from worker.model.rendering.template_tokenizer import TemplateTokenizer

# Limits of what is rendered for single answers of one chat: each needs all messages before it, a
# time that is quadratic in the messages. Enough for 64 answers to 64 questions.
MAX_MESSAGES = 8_192
MAX_CHARACTERS = 16_000_000
# Characters at a prompt's end in which a template may begin the model's reasoning.
MAX_REASONING_TAG_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt as serving renders it, and the answer with the token that ends it; marked texts."""

    prompt: str
    text: str


class AnswerRenderer:
    """Renders answers one by one."""

    def __init__(self, template: ChatTemplate, tokens: TemplateTokenizer) -> None:
        self._template = template
        begin, end = (re.escape(tokens.mark(tag)) for tag in ("<think>", "</think>"))
        self._empty_reasoning = re.compile(rf"\s*+{begin}\s*+{end}\s*+")
        self._begin_reasoning = re.compile(rf"{begin}\s*+")
        self._end_reasoning = tokens.mark("\n</think>\n\n")

    def render_newest(self, chat: PreparedChat, places: Sequence[int]) -> Iterator[Answer]:
        """Render the answers at `places`, the last ones first, as far as the limits allow."""
        sizes = _cumulated_lengths(chat.messages)
        messages = characters = 0
        for place in reversed(places):
            messages += 2 * place + 1
            characters += 2 * sizes[place]
            if messages > MAX_MESSAGES or characters > MAX_CHARACTERS:
                return
            answer = self.render(chat, place)
            if answer is not None:
                yield answer

    def render(self, chat: PreparedChat, place: int, *, whole: str | None = None) -> Answer | None:
        """Render the answer at `place`; None if the template cannot render it after its prompt.

        `whole` is the rendered chat up to this answer, if it is known.
        """
        try:
            whole = whole or self._template.render(chat, end=place + 1)
            prompt = self._render_prompt(chat, place, whole)
        except RenderingError:
            return None
        text = self._text_after(prompt, whole)
        text = text[self.empty_reasoning(chat.messages[place], text) :]
        return Answer(prompt, self._end(text)) if text else None

    def empty_reasoning(self, message: Mapping[str, Any], answer: str) -> int:
        """Measure the empty reasoning block at the beginning of an answer.

        Templates write it before answers without reasoning, and not into prompts: a model that
        learned it would begin every answer with it.
        """
        block = self._empty_reasoning.match(answer)
        is_the_authors = self._empty_reasoning.match(message.get("content") or "")
        return block.end() if block and not is_the_authors else 0

    def _render_prompt(self, chat: PreparedChat, place: int, whole: str) -> str:
        if place > 0:
            return self._template.render(chat, end=place, answer=True)
        # Templates cannot render an empty chat; the first answer begins after the first header.
        header = self._template.header
        before, found, _ = whole.partition(header) if header else ("", "", "")
        return before + found if found else whole

    def _text_after(self, prompt: str, whole: str) -> str:
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        # The prompt begins the model's reasoning, which the rendered answer lacks: it is ended.
        opened = self._begin_reasoning.search(
            prompt, max(0, len(prompt) - MAX_REASONING_TAG_LENGTH)
        )
        if opened is None or not whole.startswith(prompt[: opened.start()]):
            return ""
        rest = whole[opened.start() :]
        reasoning = self._begin_reasoning.match(rest)
        return rest[reasoning.end() :] if reasoning else self._end_reasoning + rest

    def _end(self, text: str) -> str:
        """Cut an answer after its first stop token; without one, add the end of text.

        What follows, such as a newline, is the template's and never generated.
        """
        stop = self._template.stop_pattern.search(text)
        return text + self._template.end_of_text if stop is None else text[: stop.end()]


def _cumulated_lengths(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Sum the lengths of the contents up to and with each message."""
    lengths: list[int] = []
    total = 0
    for message in messages:
        total += len(message.get("content") or "")
        lengths.append(total)
    return lengths
