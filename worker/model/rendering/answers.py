"""Single answers of a chat: the prompt that serving renders before each, and the text to learn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model.rendering.errors import RenderingError
from worker.model.rendering.reasoning import ReasoningTags
from worker.model.rendering.template import ChatTemplate, PreparedChat
from worker.model.rendering.template_tokenizer import TemplateTokenizer

# Limits of what is rendered for single answers of one chat: each needs all messages before it, a
# time that is quadratic in the messages. Enough for 64 answers to 64 questions.
MAX_MESSAGES = 8_192
MAX_CHARACTERS = 16_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt as serving renders it, and the answer with the token that ends it; marked texts."""

    prompt: str
    text: str


class AnswerRenderer:
    """Renders answers one by one."""

    def __init__(self, template: ChatTemplate, tokens: TemplateTokenizer) -> None:
        self._template = template
        self._reasoning = ReasoningTags(tokens)

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
            text = self._answer_after(prompt, whole, chat, place)
            if text is None and place > 0:
                # The template renders this answer in another way than those before it.
                text = self._answer_after(*self._template.render_alone(chat, place), chat, place)
        except RenderingError:
            return None
        if not text:
            return None
        text = text[self.empty_reasoning(chat.messages[place], text) :]
        return Answer(prompt, self._end(text, chat.messages[place])) if text else None

    def empty_reasoning(self, message: Mapping[str, Any], answer: str) -> int:
        """Measure the empty reasoning block at the beginning of an answer.

        Templates write it before answers without reasoning, and not into prompts: a model that
        learned it would begin every answer with it.
        """
        is_the_authors = self._reasoning.empty_block(message.get("content") or "")
        return 0 if is_the_authors else self._reasoning.empty_block(answer)

    def _render_prompt(self, chat: PreparedChat, place: int, whole: str) -> str:
        if place > 0:
            return self._template.render(chat, end=place, answer=True)
        # Templates cannot render an empty chat; the first answer begins after the first header.
        header = self._template.header
        before, found, _ = whole.partition(header) if header else ("", "", "")
        return before + found if found else whole

    def _answer_after(self, prompt: str, whole: str, chat: PreparedChat, place: int) -> str | None:
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        reasoning = chat.messages[place].get("reasoning_content") or ""
        return self._reasoning.answer_after(prompt, whole, reasoning)

    def _end(self, text: str, message: Mapping[str, Any]) -> str:
        """Cut an answer after its first stop token; without one, add the end of the turn.

        What follows, such as a newline, is the template's and never generated.
        """
        stop = self._template.stop_pattern.search(text)
        return text + self._template.end_after(message) if stop is None else text[: stop.end()]


def _cumulated_lengths(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Sum the lengths of the contents up to and with each message."""
    lengths: list[int] = []
    total = 0
    for message in messages:
        total += len(message.get("content") or "")
        lengths.append(total)
    return lengths
