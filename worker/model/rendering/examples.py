"""Training examples of chats: every answer, after exactly the prompt that serving renders for it.

A chat is rendered and tokenized once and becomes one row. An answer that does not follow its prompt
there (templates of reasoning models rewrite earlier turns) gets a row of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model.rendering.answers import Answer, AnswerRenderer
from worker.model.rendering.messages import Message, Tool
from worker.model.rendering.rows import ChatRow, TrainingRow, encode_answer, encode_chat
from worker.model.rendering.template import ChatTemplate, PreparedChat, Span
from worker.model.rendering.template_tokenizer import TemplateTokenizer
from worker.model.rendering.turns import assistant_turns, locate_turns


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The rows of a chat, and how many of its `num_turns` turns to learn they contain.

    `num_cut` turns are left out because they do not fit into the context length as a whole.
    """

    rows: list[TrainingRow]
    num_turns: int
    num_learned: int
    num_cut: int = 0


class ExampleRenderer:
    """Renders training examples, truncated at their end to the context length."""

    def __init__(
        self, template: ChatTemplate, tokens: TemplateTokenizer, context_length: int
    ) -> None:
        self._template = template
        self._tokens = tokens
        self._answers = AnswerRenderer(template, tokens)
        self._context_length = context_length
        self._header_ids = tokens.encode(template.header)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> RenderedChat:
        """Render a chat; the assistant's messages are learned, except those of weight 0.

        Raises RenderingError.
        """
        chat = self._template.prepare(messages, tools)
        turns = _turns_to_learn(chat.messages)
        text, spans = self._locate(chat, turns)
        # Rows and prompts of one chat have most of their texts in common.
        tokens = self._tokens if self._tokens.has_cache else self._tokens.with_cache()
        row = encode_chat(tokens, text, self._context_length)
        in_row = {place for place, span in spans.items() if row.learn_span(span, self._header_ids)}
        others = [place for place in turns if place not in in_row]
        own_rows = list(self._render_own_rows(chat, others, row, tokens))[::-1]
        whole = [row.to_row()] if row.num_learned else []
        num_learned = row.num_learned + len(own_rows)
        return RenderedChat([*whole, *own_rows], len(turns), num_learned, row.num_cut)

    def _render_own_rows(
        self, chat: PreparedChat, places: Sequence[int], row: ChatRow, tokens: TemplateTokenizer
    ) -> Iterator[TrainingRow]:
        """Yield a row for each answer that cannot be learned in the chat's row."""
        for answer in self._answers.render_newest(chat, places):
            prompt_ids = self._encode_prompt(answer, tokens)
            if prompt_ids is None:
                row.num_cut += 1
            elif not row.learn_answer(answer, prompt_ids):
                own = encode_answer(tokens, answer, prompt_ids, self._context_length)
                row.num_cut += not own.is_complete
                yield from [own] if own.is_complete else []

    def _encode_prompt(self, answer: Answer, tokens: TemplateTokenizer) -> list[int] | None:
        """Encode an answer's prompt; None if it leaves no room for the answer."""
        if tokens.min_token_count(answer.prompt) >= self._context_length:
            return None
        prompt_ids = tokens.encode(answer.prompt)
        return prompt_ids if len(prompt_ids) < self._context_length else None

    def _locate(self, chat: PreparedChat, turns: Sequence[int]) -> tuple[str, dict[int, Span]]:
        """Render the chat, and locate the turns that serving renders alike."""
        whole, tagged = self._template.render_with_tags(chat)
        whole = self._end_last_turn(whole, chat.messages)
        spans = locate_turns(whole, tagged, chat.messages, self._template)
        text, spans = self._cut_empty_reasoning(whole, spans, chat.messages)
        spans = {place: span for place, span in spans.items() if place in turns}
        *earlier, last = sorted(spans) or [-1]
        if not self._is_served_alike(chat, last, text, spans, whole=whole):
            spans.pop(last, None)
        samples = _first_of_each_kind(earlier, chat.messages)
        if not all(self._is_served_alike(chat, place, text, spans) for place in samples):
            spans = {place: span for place, span in spans.items() if place == last}
        return text, spans

    def _end_last_turn(self, whole: str, messages: Sequence[Mapping[str, Any]]) -> str:
        """Add the end of the last turn where the template leaves it to the next one's beginning."""
        _, header, last = whole.rpartition(self._template.header or "\0")
        if not header or self._template.stop_pattern.search(last):
            return whole
        return whole + self._template.end_after(messages[-1])

    def _cut_empty_reasoning(
        self, text: str, spans: dict[int, Span], messages: Sequence[Mapping[str, Any]]
    ) -> tuple[str, dict[int, Span]]:
        """Cut an empty reasoning block out of the last turn; drop earlier turns that have one."""
        kept: dict[int, Span] = {}
        for place, span in spans.items():
            block = self._answers.empty_reasoning(messages[place], text[span.start : span.end])
            if block == 0:
                kept[place] = span
            elif place == len(messages) - 1:
                text = text[: span.start] + text[span.start + block :]
                kept[place] = Span(span.start, span.end - block)
        return text, kept

    def _is_served_alike(
        self,
        chat: PreparedChat,
        place: int,
        text: str,
        spans: Mapping[int, Span],
        *,
        whole: str | None = None,
    ) -> bool:
        """Check that a turn follows its prompt as serving renders it, and is rendered alike."""
        span = spans.get(place)
        if span is None:
            return False
        is_last = place == len(chat.messages) - 1
        answer = self._answers.render(chat, place, whole=whole if is_last else None)
        return answer == Answer(text[: span.start], text[span.start : span.end])


def _turns_to_learn(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    return [place for place in assistant_turns(messages) if messages[place].get("weight") != 0]


def _first_of_each_kind(
    places: Sequence[int], messages: Sequence[Mapping[str, Any]]
) -> Iterator[int]:
    """Yield the first of the turns, and the first of those that call tools."""
    calls = [place for place in places if messages[place].get("tool_calls")]
    yield from dict.fromkeys([*places[:1], *calls[:1]])
