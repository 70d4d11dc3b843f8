"""The form of a model's answers: reasoning, text and calls of tools, as its template renders them.

Training learns these texts, and serving reads the parts of an answer by them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model.rendering.answers import AnswerRenderer
from worker.model.rendering.call_format import (
    NAMES,
    ONE,
    CallFormat,
    find_call_format,
    squeeze,
)
from worker.model.rendering.errors import RenderingError
from worker.model.rendering.features import TOOLS, USER
from worker.model.rendering.template import ChatTemplate
from worker.model.rendering.template_tokenizer import TemplateTokenizer

CONTENT, REASONING = "probe_content", "probe_reasoning"
# Unicode's noncharacters are for internal use: each stands for one special token in texts that are
# parsed, so that no text that a model quotes counts as such a token.
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """Delimiters of the parts of an answer; special tokens are noncharacters.

    special          the noncharacter of each special token, by its id
    reasoning_begin  before reasoning; "" if only prompts begin it
    reasoning_end    after reasoning; "" if the template has none
    no_reasoning     what ends reasoning that a prompt has begun, if there is none
    content_begin    before the text
    calls            None if the form is not known
    """

    special: Mapping[int, str]
    reasoning_begin: str = ""
    reasoning_end: str = ""
    no_reasoning: str = ""
    content_begin: str = ""
    calls: CallFormat | None = None
    # Calls are found after a text, not only instead of one.
    has_calls_after_content: bool = False

    @property
    def is_plain(self) -> bool:
        """True if an answer without calls is text and nothing else."""
        return not self.content_begin and not self.reasoning_end


class AnswerFormatFinder:
    """Finds the form of answers by rendering a few."""

    def __init__(self, template: ChatTemplate, tokens: TemplateTokenizer) -> None:
        self._template = template
        self._tokens = tokens
        self._answers = AnswerRenderer(template, tokens)
        self._special: dict[str, str] = {}

    def find(self) -> AnswerFormat:
        before = (self._render({"content": CONTENT}) or CONTENT).partition(CONTENT)[0]
        reasoned = {"content": CONTENT, "reasoning_content": REASONING}
        begin, has_reasoning, rest = (self._render(reasoned) or "").partition(REASONING)
        end = rest.partition(CONTENT)[0] if has_reasoning else ""
        if squeeze(end).endswith(squeeze(before)):
            # An answer without reasoning may end what its prompt has begun.
            is_end = squeeze(end) == squeeze(before)
            no_reasoning = before if is_end and before.strip() else ""
            end = squeeze(end).removesuffix("" if is_end else squeeze(before))
            content_begin = "" if is_end and before.strip() else before
        else:
            content_begin, no_reasoning = before, ""
        calls = find_call_format(lambda calls: self._render_calls(calls, after=no_reasoning))
        return AnswerFormat(
            special={self._tokens.id_of(alias): char for alias, char in self._special.items()},
            reasoning_begin=squeeze(begin) if has_reasoning else "",
            reasoning_end=squeeze(end),
            no_reasoning=no_reasoning,
            content_begin=content_begin,
            calls=calls,
            has_calls_after_content=calls is not None and self._follows_content(calls, before),
        )

    def _render_calls(
        self, calls: Sequence[tuple[str, Mapping[str, Any]]], *, after: str
    ) -> str | None:
        text = self._render({"content": "", "tool_calls": _make_calls(calls)})
        # The end of reasoning that the prompt has begun.
        return None if text is None else text.removeprefix(after)

    def _follows_content(self, calls: CallFormat, before: str) -> bool:
        message = {"content": CONTENT, "tool_calls": _make_calls([(NAMES[0], ONE)])}
        text = squeeze(self._render(message) or "")
        opening, beginning = squeeze(calls.delimiters.opening), squeeze(before) + CONTENT
        return bool(opening) and text.startswith(beginning + opening)

    def _render(self, message: Mapping[str, Any]) -> str | None:
        """Render an answer without its end; special tokens become noncharacters."""
        try:
            chat = self._template.prepare([USER, {"role": "assistant", **message}], TOOLS)
        except RenderingError:
            return None
        roles = [message["role"] for message in chat.messages]
        answer = self._answers.render(chat, roles.index("assistant"))
        if answer is None:
            return None
        ends = list(self._template.stop_pattern.finditer(answer.text))
        text = answer.text[: ends[-1].start()] if ends else answer.text
        return self._tokens.alias_pattern.sub(lambda alias: self._replace(alias[0]), text)

    def _replace(self, alias: str) -> str:
        if alias not in self._special and len(self._special) < len(NONCHARACTERS):
            self._special[alias] = NONCHARACTERS[len(self._special)]
        return self._special.get(alias, alias)


def _make_calls(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call{number:05}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for number, (name, arguments) in enumerate(calls)
    ]
