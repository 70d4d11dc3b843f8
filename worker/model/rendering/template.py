"""A base model's chat template: renders messages to text, and what it writes around an answer."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from worker.model.rendering.errors import TOO_DEEP, RenderingError
from worker.model.rendering.features import (
    NAMES,
    RESULT,
    USER,
    CallForm,
    TemplateFeatures,
    make_call,
    probe_features,
)
from worker.model.rendering.jinja import render_template
from worker.model.rendering.messages import Message, Tool, normalize_messages, normalize_tools
from worker.model.rendering.options import DEFAULT_OPTIONS, RenderingOptions
from worker.model.rendering.reasoning import ReasoningTags
from worker.model.rendering.rewriting import rewrite
from worker.model.rendering.template_tokenizer import TemplateTokenizer

GENERATION_TAG = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
# For base models without a template. Only the end token separates messages: no text can forge it.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ eos_token }}{{ message.role }}\n{{ message.content }}"
    "{% endfor %}{{ eos_token }}{% if add_generation_prompt %}assistant\n{% endif %}"
)
NO_SWITCHES: Mapping[str, Any] = {}
NO_TEMPLATE = (
    "The base model has neither a chat template nor an end token, so it cannot read messages. "
    "Use prompts and completions."
)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a rendered text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """Messages as the template can render them, and the same escaped for it."""

    messages: list[dict[str, Any]]
    escaped: list[dict[str, Any]]
    tools: Sequence[Tool]


class ChatTemplate:
    """Renders chats to marked text; see TemplateTokenizer.

    `header` begins each answer, from its first special token on; it is empty if it has none, since
    users' texts could then contain it. `stop_ids` end an answer, `stop_pattern` matches their text.
    `eos_ids` are the base model's own, beside those that the template writes.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: TemplateTokenizer,
        options: RenderingOptions = DEFAULT_OPTIONS,
        eos_ids: Sequence[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._options = options
        self._reasoning = ReasoningTags(tokens)
        self.is_plain = not tokenizer.chat_template
        self._variables: dict[str, Any] = {
            **tokenizer.special_tokens_map,
            "strftime_now": options.strftime_now,
        }
        self._sources: dict[bool, str] = {}
        source = self._source([])
        self.features = self._probe_features(source)
        self._set_thinking(source)
        secret = secrets.token_hex(8)
        self._tag_marks = f"span{secret}b", f"span{secret}e"
        self.header = self._find_header()
        self.stop_ids = self._find_stop_ids(eos_ids)
        stops = filter(None, map(tokens.alias_of, self.stop_ids))
        self.stop_pattern = re.compile("|".join(map(re.escape, stops)) or r"(?!)")
        self._end, self._end_of_call = self._find_ends()

    @property
    def switches(self) -> Mapping[str, bool]:
        """Switches of the template that the options set."""
        return {k: v for k, v in self._variables.items() if k == "enable_thinking"}

    def end_after(self, message: Mapping[str, Any]) -> str:
        """Token that ends an answer after which the template writes none."""
        return self._end_of_call if message.get("tool_calls") else self._end

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> PreparedChat:
        """Normalize, rewrite and escape the template's input.

        Its nesting is only limited by recursion.
        """
        try:
            rewritten, tools = rewrite(
                normalize_messages(messages), normalize_tools(tools), self.features
            )
            escaped = [self._escape(message) for message in rewritten]
            return PreparedChat(rewritten, escaped, self._tokens.escape(list(tools)))
        except RecursionError as error:
            raise RenderingError(TOO_DEEP) from error

    def _escape(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Escape a normalized message, whose keys and role are no user's."""
        return {
            key: value if key == "role" else self._tokens.escape(value)
            for key, value in message.items()
        }

    def render(
        self,
        chat: PreparedChat,
        *,
        end: int | None = None,
        answer: bool = False,
        source: str | None = None,
        switches: Mapping[str, Any] = NO_SWITCHES,
    ) -> str:
        """Render the messages before `end`, followed by an answer's header if `answer`.

        `source` replaces the template; `switches` are values of its own variables. Raises
        RenderingError.
        """
        return self._render(
            chat.escaped[:end], chat.tools, answer=answer, source=source, switches=switches
        )

    def begins_reasoning(self, prompt: str) -> bool:
        """Check whether a rendered prompt ends inside of reasoning."""
        return self._reasoning.is_begun(prompt)

    def render_alone(self, chat: PreparedChat, place: int) -> tuple[str, str]:
        """Render one answer as the first of a chat; returns its prompt and the whole."""
        user, answer = self._tokens.escape(USER), chat.escaped[place]
        prompt = self._render([user], chat.tools, answer=True)
        return prompt, self._render([user, answer], chat.tools)

    def render_with_tags(self, chat: PreparedChat) -> tuple[str, list[Span]]:
        """Render a whole chat; also locate what the template's generation tags enclose."""
        source = self._source(chat.tools)
        if not GENERATION_TAG.search(source):
            return self.render(chat), []
        marked = self.render(chat, source=GENERATION_TAG.sub(self._replace_tag, source))
        return self._cut_tag_marks(marked)

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        answer: bool = False,
        source: str | None = None,
        switches: Mapping[str, Any] = NO_SWITCHES,
    ) -> str:
        variables = {
            **self._tokens.escape(switches),
            **self._variables,
            "messages": list(messages),
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": answer,
        }
        text = self._tokens.mark(render_template(source or self._source(tools), variables))
        return self._reasoning.close(text) if answer and self._options.thinking is False else text

    def _source(self, tools: Sequence[Tool]) -> str:
        """Return the template; models may have one for chats with tools, and one for others."""
        has_tools = bool(tools)
        if has_tools not in self._sources:
            self._sources[has_tools] = self._find_source(tools)
        return self._sources[has_tools]

    def _find_source(self, tools: Sequence[Tool]) -> str:
        if not self.is_plain:
            return str(self._tokenizer.get_chat_template(tools=list(tools) or None))  # type: ignore[arg-type]
        if self._tokenizer.eos_token is None:
            raise RenderingError(NO_TEMPLATE)
        return PLAIN_TEMPLATE

    def _probe(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str | None:
        try:
            return self._render(messages, tools)
        except RenderingError:
            return None

    def _probe_features(self, source: str) -> TemplateFeatures:
        features = probe_features(self._probe, source)
        # Some templates begin reasoning in the prompt, and render none of earlier answers.
        begins_reasoning = self._reasoning.is_begun(self._render([USER], [], answer=True))
        return replace(features, reasoning=features.reasoning or begins_reasoning)

    def _set_thinking(self, source: str) -> None:
        """Set the template's own switch, if it has one.

        Without reasoning it stays as it is where answers are then rendered alike at every place:
        a chat is one row.
        """
        thinking = self._options.thinking
        if thinking is None or "enable_thinking" not in source:
            return
        if thinking or self._writes_reasoning_tags():
            self._variables["enable_thinking"] = thinking

    def _writes_reasoning_tags(self) -> bool:
        """Check for tags in the prompt, or in an earlier answer without reasoning."""
        prompt = self._render([USER], [], answer=True)
        answer = {"role": "assistant", "content": RESULT}
        earlier = self._probe([USER, answer, USER], []) or ""
        return self._reasoning.has_tags(prompt) or self._reasoning.has_tags(earlier)

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
        prompt = self._render([USER], [], answer=True)
        pairs = zip(prompt, self._render([USER], []), strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        aliases = list(self._tokens.alias_pattern.finditer(prompt))
        if self.is_plain:
            return prompt[aliases[-1].start() :]
        return next((prompt[alias.start() :] for alias in aliases if alias.end() > common), "")

    def _find_stop_ids(self, eos_ids: Sequence[int]) -> frozenset[int]:
        """Find the tokens that end an answer: end of text, and the template's end of turn."""
        answer = self._text_after(RESULT, [USER, {"role": "assistant", "content": RESULT}])
        ends = [
            self._tokenizer.eos_token_id,
            *eos_ids,
            *self._tokens.special_ids(answer)[:1],
            *self._tokens.special_ids(self._text_after(NAMES[0], self._probe_call()))[-1:],
        ]
        return frozenset(id for id in ends if isinstance(id, int))

    def _find_ends(self) -> tuple[str, str]:
        """Find the tokens after an answer, and after a call, where the template writes none.

        Some models end their turn with the token that begins the next one.
        """
        eos = self._tokenizer.eos_token_id
        end_of_text = (isinstance(eos, int) and self._tokens.alias_of(eos)) or ""
        answer = self._text_after(RESULT, [USER, {"role": "assistant", "content": RESULT}, USER])
        result = {"role": "tool", "content": "y", "tool_call_id": "call00000"}
        call = self._text_after(NAMES[0], [*self._probe_call(), result])
        return tuple(  # type: ignore[return-value]
            stop[0] if (stop := self.stop_pattern.search(text)) else end_of_text
            for text in (answer, call)
        )

    def _probe_call(self) -> list[Message]:
        form = self.features.call_form or CallForm(arguments_as_objects=True)
        return [USER, make_call(form, NAMES[:1])]

    def _text_after(self, text: str, messages: Sequence[Message]) -> str:
        return (self._probe(messages, []) or "").rpartition(text)[2]
