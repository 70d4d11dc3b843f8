"""Chat rendering: messages to token ids, by the same code for training and serving.

The base model's own chat template renders the text. Special tokens (such as `<|im_end|>`) count
as such only if the template wrote them: in a user's text they are encoded as plain text,
so a message can neither end its turn nor forge another one.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from worker.template_tokenizer import TemplateTokenizer

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

# System prompt for models whose template does not support tools, in the form that most open models
# are trained on (Hermes function calling).
TOOLS_PROMPT = """\
You may call functions to answer. These are their signatures:
<tools>
{tools}
</tools>
To call one, write its name and arguments as a JSON object in these tags:
<tool_call>
{{"name": "…", "arguments": {{…}}}}
</tool_call>"""

TOO_DEEP = "The messages or tools are nested too deeply to be rendered."


class RenderingError(ValueError):
    """The messages cannot be rendered. The template's own errors keep their text."""


class PromptTooLong(RenderingError):
    """The prompt exceeds the context length: it has at least `min_tokens` tokens."""

    def __init__(self, min_tokens: int) -> None:
        super().__init__(f"The prompt has at least {min_tokens} tokens.")
        self.min_tokens = min_tokens


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """A tokenized training example. `loss_mask[i]` is true if token i is in the loss."""

    ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True, slots=True)
class _AssistantTurn:
    """Span of an assistant's message in the rendered text, without its header."""

    start: int
    end: int
    in_loss: bool


class Renderer:
    """Renders chats for one tokenizer. Raises RenderingError if it has no chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_length: int) -> None:
        if not tokenizer.chat_template:
            raise RenderingError("The base model's tokenizer has no chat template.")
        self.context_length = context_length
        self._tokenizer = tokenizer
        self._supports_tools = "tools" in str(tokenizer.chat_template)
        self._tokens = TemplateTokenizer(tokenizer)
        self._header = self._find_header()
        self.stop_ids = self._find_stop_ids()

    def render_example(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> RenderedExample:
        """Render a training example, truncated at its end to the context length.

        The loss covers the assistant's messages and the token that ends each, except messages with
        weight 0. Templates of some reasoning models rewrite earlier turns: then the loss covers
        only turns that are rendered as the model sees them when it answers.
        """
        ids: list[int] = []
        mask: list[bool] = []
        for text, in_loss in self._segments(messages, tools, answer=False):
            encoded = self._tokens.encode(text)
            ids += encoded
            mask += [in_loss] * len(encoded)
        return RenderedExample(ids[: self.context_length], mask[: self.context_length])

    def render_prompt(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """Render the prompt for the next assistant message: a prefix of its training example.

        Raises PromptTooLong, before tokenizing, if the prompt certainly exceeds the context length.
        """
        segments = self._segments(messages, tools, answer=True)
        return [id for text, _ in segments for id in self._tokens.encode(text)]

    def encode_text(self, text: str) -> list[int]:
        """Tokenize plain text, in which special tokens count as such.

        An empty text becomes `[eos]`, so there is always a position to predict from.
        """
        ids: list[int] = self._tokenizer(text).input_ids
        return ids or [self._end_of_text]

    def min_token_count(self, text: str) -> int:
        """Compute a lower bound of the tokens in `text`, much faster than encoding it."""
        return self._tokens.min_plain_token_count(text)

    def render_completion(self, prompt: str, completion: str) -> RenderedExample:
        """Render a training example of two texts; the loss covers the second and the end token."""
        prompt_ids = self.encode_text(prompt)
        completion_ids: list[int] = self._tokenizer(completion, add_special_tokens=False).input_ids
        completion_ids = [*completion_ids, self._end_of_text]
        mask = [False] * len(prompt_ids) + [True] * len(completion_ids)
        return RenderedExample(
            (prompt_ids + completion_ids)[: self.context_length], mask[: self.context_length]
        )

    @property
    def _end_of_text(self) -> int:
        end = self._tokenizer.eos_token_id
        return end if isinstance(end, int) else min(self.stop_ids)

    def _segments(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None, *, answer: bool
    ) -> Iterator[tuple[str, bool]]:
        """Yield the rendered text, cut around each assistant message, each with "is in the loss".

        The segments are tokenized one by one, so that training and serving encode alike: otherwise
        a token could span the end of the prompt and the beginning of the answer.
        """
        normalized, tools = self._prepare(messages, tools)
        text = self._render(normalized, tools, answer=answer)
        # What follows is quadratic in the number of messages, and slow for long texts.
        if answer and (minimum := self._tokens.min_token_count(text)) > self.context_length:
            raise PromptTooLong(minimum)
        position = 0
        for turn in self._assistant_turns(text, normalized, tools):
            yield text[position : turn.start], False
            yield text[turn.start : turn.end], turn.in_loss
            position = turn.end
        yield text[position:], False

    def _prepare(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None
    ) -> tuple[list[dict[str, Any]], Sequence[Tool] | None]:
        """Normalize and escape the template's input. Its nesting is only limited by recursion."""
        try:
            normalized = [_normalize_message(message) for message in messages]
            if not self._supports_tools:
                normalized, tools = _tools_as_text(normalized, tools), None
            return self._tokens.escape(normalized), self._tokens.escape(tools)
        except RecursionError as error:
            raise RenderingError(TOO_DEEP) from error

    def _render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Tool] | None = None,
        *,
        answer: bool = False,
    ) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,  # type: ignore[arg-type]
                tokenize=False,
                add_generation_prompt=answer,
            )
        except RecursionError as error:
            raise RenderingError(TOO_DEEP) from error
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            message = f"The model's chat template rejects these messages: {error}"
            raise RenderingError(message) from error
        return str(text)

    def _assistant_turns(
        self, text: str, messages: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
    ) -> Iterator[_AssistantTurn]:
        """Locate the assistant's turns in `text` by rendering the messages before each."""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = self._turn_start(text, messages[:index], tools)
            rendered_so_far = self._render(messages[: index + 1], tools)
            if start is not None and text.startswith(rendered_so_far):
                end = self._tokens.end_of_last_special(rendered_so_far, start)
                yield _AssistantTurn(start, end, in_loss=message.get("weight") != 0)

    def _turn_start(
        self, text: str, messages_before: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
    ) -> int | None:
        if not messages_before:
            # Many templates cannot render an empty chat; the turn starts after the first header.
            position = text.find(self._header)
            return None if position < 0 else position + len(self._header)
        prompt = self._render(messages_before, tools, answer=True)
        return len(prompt) if text.startswith(prompt) else None

    def _find_header(self) -> str:
        """Find the text that the template puts before an assistant's message."""
        probe = [{"role": "user", "content": "x"}]
        return self._render(probe, answer=True).removeprefix(self._render(probe))

    def _find_stop_ids(self) -> frozenset[int]:
        """Find the tokens that end an answer: end of text, and the template's end of turn."""
        marker = secrets.token_hex(8)
        probe = [{"role": "user", "content": "x"}, {"role": "assistant", "content": marker}]
        end_of_turn = self._tokens.first_special_id(self._render(probe).rpartition(marker)[2])
        ids = (self._tokenizer.eos_token_id, end_of_turn)
        return frozenset(id for id in ids if isinstance(id, int))


def _normalize_message(message: Message) -> dict[str, Any]:
    """Convert a message to the form templates expect: plain text content, arguments as objects."""
    normalized = dict(message)
    normalized["role"] = "system" if message["role"] == "developer" else message["role"]
    normalized["content"] = _text_content(message.get("content") or message.get("refusal"))
    if message.get("tool_calls"):
        normalized["tool_calls"] = [_parse_call_arguments(call) for call in message["tool_calls"]]
    return normalized


def _text_content(content: Any) -> str:
    """Join the text parts of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _parse_call_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a call's arguments: templates dump them as JSON, which would quote a string twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except (TypeError, ValueError):
        # A model may have written invalid JSON; it stays a string.
        return {**call, "function": function}
    return {**call, "function": function}


def _tools_as_text(
    messages: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
) -> list[dict[str, Any]]:
    """Write tools, calls and results as text, for templates that would drop them silently."""
    text_messages = [_tool_message_as_text(message) for message in messages]
    if not tools:
        return text_messages
    text = TOOLS_PROMPT.format(
        tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    )
    if text_messages and text_messages[0]["role"] == "system":
        first = {**text_messages[0], "content": f"{text_messages[0]['content']}\n\n{text}"}
        return [first, *text_messages[1:]]
    return [{"role": "system", "content": text}, *text_messages]


def _tool_message_as_text(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        text = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": text}
    if not message.get("tool_calls"):
        return message
    calls = [f"<tool_call>\n{_format_call(call)}\n</tool_call>" for call in message["tool_calls"]]
    lines = [message["content"], *calls] if message["content"] else calls
    return {**message, "content": "\n".join(lines)}


def _format_call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    name_and_arguments = {"name": function["name"], "arguments": function["arguments"]}
    return json.dumps(name_and_arguments, ensure_ascii=False)
