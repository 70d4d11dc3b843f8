"""A base model's chat template: renders messages to text, and what it writes around an answer."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from worker.model.rendering.errors import RenderingError
from worker.model.rendering.messages import Message, Tool, normalize_message, tools_as_text
from worker.model.rendering.template_tokenizer import TemplateTokenizer

TOO_DEEP = "The messages or tools are nested too deeply to be rendered."
GENERATION_TAG = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
PROBE_NAME = "probe_function"
PROBE_CALL = {
    "id": "call00000",
    "type": "function",
    "function": {"name": PROBE_NAME, "arguments": "{}"},
}


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a rendered text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """Normalized messages, and the same escaped for the template."""

    messages: list[dict[str, Any]]
    escaped: list[dict[str, Any]]
    tools: Sequence[Tool]


class ChatTemplate:
    """Renders chats to marked text; see TemplateTokenizer.

    `header` begins each answer, from its first special token on; it is empty if it has none, since
    users' texts could then contain it. `stop_ids` end an answer, `stop_pattern` matches their text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokens: TemplateTokenizer) -> None:
        if not tokenizer.chat_template:
            raise RenderingError("The base model's tokenizer has no chat template.")
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._supports_tools = "tools" in str(tokenizer.chat_template)
        secret = secrets.token_hex(8)
        self._tag_marks = f"span{secret}b", f"span{secret}e"
        self.header = self._find_header()
        self.stop_ids = self._find_stop_ids()
        eos = tokenizer.eos_token_id
        # Ends answers of templates that have no token for the end of a turn.
        self.end_of_text = (isinstance(eos, int) and tokens.alias_of(eos)) or ""
        stops = filter(None, map(tokens.alias_of, self.stop_ids))
        self.stop_pattern = re.compile("|".join(map(re.escape, stops)) or r"(?!)")

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> PreparedChat:
        """Normalize and escape the template's input. Its nesting is only limited by recursion."""
        try:
            normalized = [normalize_message(message) for message in messages]
            if not self._supports_tools:
                normalized, tools = tools_as_text(normalized, tools), None
            escape = self._tokens.escape
            return PreparedChat(normalized, escape(normalized), escape(list(tools or ())))
        except RecursionError as error:
            raise RenderingError(TOO_DEEP) from error

    def render(
        self,
        chat: PreparedChat,
        *,
        end: int | None = None,
        answer: bool = False,
        source: str | None = None,
    ) -> str:
        """Render the messages before `end`, followed by an answer's header if `answer`.

        `source` replaces the template. Raises RenderingError.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                chat.escaped[:end],
                tools=chat.tools or None,  # type: ignore[arg-type]
                chat_template=source,
                tokenize=False,
                add_generation_prompt=answer,
            )
        except RecursionError as error:
            raise RenderingError(TOO_DEEP) from error
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            message = f"The model's chat template rejects these messages: {error}"
            raise RenderingError(message) from error
        return self._tokens.mark(str(text))

    def render_with_tags(self, chat: PreparedChat) -> tuple[str, list[Span]]:
        """Render a whole chat; also locate what the template's generation tags enclose."""
        source = self._tokenizer.get_chat_template(tools=chat.tools or None)  # type: ignore[arg-type]
        if not GENERATION_TAG.search(source):
            return self.render(chat), []
        marked = self.render(chat, source=GENERATION_TAG.sub(self._replace_tag, source))
        return self._cut_tag_marks(marked)

    def _replace_tag(self, tag: re.Match[str]) -> str:
        """Write a mark in the tag's place.

        In an `if`, so that the white space around it is controlled as around the tag.
        """
        before, end, after = tag.groups()
        mark = self._tag_marks[bool(end)]
        return f"{{%{before} if true %}}{{{{ '{mark}' }}}}{{% endif {after}%}}"

    def _cut_tag_marks(self, marked: str) -> tuple[str, list[Span]]:
        begin, end = self._tag_marks
        parts: list[str] = []
        spans: list[Span] = []
        length = start = 0
        for part in re.split(f"({begin}|{end})", marked):
            if part == begin:
                start = length
            elif part == end:
                spans.append(Span(start, length))
            else:
                parts.append(part)
                length += len(part)
        return "".join(parts), spans

    def _find_header(self) -> str:
        probe = self.prepare([{"role": "user", "content": "x"}])
        prompt = self.render(probe, answer=True)
        pairs = zip(prompt, self.render(probe), strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        aliases = self._tokens.alias_pattern.finditer(prompt)
        return next((prompt[alias.start() :] for alias in aliases if alias.end() > common), "")

    def _find_stop_ids(self) -> frozenset[int]:
        """Find the tokens that end an answer: end of text, and the template's end of turn."""
        marker = secrets.token_hex(8)
        answer = self._probe_answer({"role": "assistant", "content": marker})
        call = self._probe_answer({"role": "assistant", "content": "", "tool_calls": [PROBE_CALL]})
        ends = [
            self._tokenizer.eos_token_id,
            *self._tokens.special_ids(answer.rpartition(marker)[2])[:1],
            *self._tokens.special_ids(call.rpartition(PROBE_NAME)[2])[-1:],
        ]
        return frozenset(id for id in ends if isinstance(id, int))

    def _probe_answer(self, answer: Message) -> str:
        try:
            return self.render(self.prepare([{"role": "user", "content": "x"}, answer]))
        except RenderingError:
            # The template has no form for this message.
            return ""
