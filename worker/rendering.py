"""Messages to token ids: the one place where training and serving agree on what a chat looks like.

The base model's own template makes the text. Special tokens (`<|im_end|>` and the like) count as
such only where the template wrote them: a user's text that contains one is encoded letter by
letter, so that it can neither end its turn nor forge another.
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

# For models whose template knows no tools: the form most open models are trained on.
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
    """The messages cannot be rendered. Where the template refused, the text is what it said."""


class PromptTooLong(RenderingError):
    """A prompt has more tokens than the model reads: `least` at the least."""

    def __init__(self, min_tokens: int) -> None:
        super().__init__(f"The prompt has at least {min_tokens} tokens.")
        self.min_tokens = min_tokens


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """One training row. `loss_mask[i]` says whether token i is to be learned."""

    ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True, slots=True)
class _AssistantTurn:
    """Where an assistant's text lies in the rendered text: from behind its header to its end."""

    start: int
    end: int
    in_loss: bool


class Renderer:
    """Renders chats with one tokenizer. Raises RenderingError if it has no chat template."""

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
        """A training row, cut at the end to the context length.

        Learned are the texts of the assistant and the token that ends each, but for messages with
        weight 0. A template that rewrites earlier turns (as some reasoning models' do)
        leaves only those turns to learn that stand as the model will see them when it answers.
        """
        ids: list[int] = []
        mask: list[bool] = []
        for text, learned in self._segments(messages, tools, answer=False):
            encoded = self._tokens.encode(text)
            ids += encoded
            mask += [learned] * len(encoded)
        return RenderedExample(ids[: self.context_length], mask[: self.context_length])

    def render_prompt(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """The ids after which the assistant speaks: its training row starts with exactly these.

        Raises TooLong, without looking for tokens, where they certainly are too many.
        """
        pieces = self._segments(messages, tools, answer=True)
        return [id for text, _ in pieces for id in self._tokens.encode(text)]

    def encode_text(self, text: str) -> list[int]:
        """The ids of a text that is no chat, special tokens in it being such; never none at all.

        What stands before a text's first token, where the tokenizer puts nothing there, is for an
        empty text the token that ends one.
        """
        ids: list[int] = self._tokenizer(text).input_ids
        return ids or [self._end_of_text]

    def min_token_count(self, text: str) -> int:
        """How many ids `text` gives at least, found in a fraction of its time."""
        return self._tokens.min_plain_token_count(text)

    def render_completion(self, prompt: str, completion: str) -> RenderedExample:
        """A training row of two texts: the second is learned, and to end after it."""
        given = self.encode_text(prompt)
        learned: list[int] = self._tokenizer(completion, add_special_tokens=False).input_ids
        learned = [*learned, self._end_of_text]
        mask = [False] * len(given) + [True] * len(learned)
        return RenderedExample(
            (given + learned)[: self.context_length], mask[: self.context_length]
        )

    @property
    def _end_of_text(self) -> int:
        end = self._tokenizer.eos_token_id
        return end if isinstance(end, int) else min(self.stop_ids)

    def _segments(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None, *, answer: bool
    ) -> Iterator[tuple[str, bool]]:
        """The rendered text, cut where an assistant begins and ends, and which pieces to learn.

        The cuts are for training and serving to encode alike: without them a token could span the
        end of the prompt and the beginning of the answer.
        """
        clean, tools = self._prepare(messages, tools)
        text = self._render(clean, tools, answer=answer)
        # What comes is quadratic in the messages, and slow in the text.
        if answer and (least := self._tokens.min_token_count(text)) > self.context_length:
            raise PromptTooLong(least)
        position = 0
        for turn in self._assistant_turns(text, clean, tools):
            yield text[position : turn.start], False
            yield text[turn.start : turn.end], turn.in_loss
            position = turn.end
        yield text[position:], False

    def _prepare(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None
    ) -> tuple[list[dict[str, Any]], Sequence[Tool] | None]:
        """What the template gets. Arguments may be nested as deep as whoever wrote them liked."""
        try:
            clean = [_normalize_message(message) for message in messages]
            if not self._supports_tools:
                clean, tools = _tools_as_text(clean, tools), None
            return self._tokens.escape(clean), self._tokens.escape(tools)
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
            message = f"The model's chat template refuses these messages: {error}"
            raise RenderingError(message) from error
        return str(text)

    def _assistant_turns(
        self, text: str, messages: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
    ) -> Iterator[_AssistantTurn]:
        """The assistant's turns in `text`, found by rendering only what came before each."""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = self._turn_start(text, messages[:index], tools)
            upto = self._render(messages[: index + 1], tools)
            if start is not None and text.startswith(upto):
                end = self._tokens.end_of_last_special(upto, start)
                yield _AssistantTurn(start, end, in_loss=message.get("weight") != 0)

    def _turn_start(
        self, text: str, before: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
    ) -> int | None:
        if not before:
            # Many templates cannot render that nobody spoke. The first header is the place.
            found = text.find(self._header)
            return None if found < 0 else found + len(self._header)
        prompt = self._render(before, tools, answer=True)
        return len(prompt) if text.startswith(prompt) else None

    def _find_header(self) -> str:
        """What the template puts before an assistant's text."""
        probe = [{"role": "user", "content": "x"}]
        return self._render(probe, answer=True).removeprefix(self._render(probe))

    def _find_stop_ids(self) -> frozenset[int]:
        """The end of text, and the special token that the template puts behind an answer."""
        mark = secrets.token_hex(8)
        probe = [{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}]
        behind = self._tokens.first_special_id(self._render(probe).rpartition(mark)[2])
        ids = (self._tokenizer.eos_token_id, behind)
        return frozenset(id for id in ids if isinstance(id, int))


def _normalize_message(message: Message) -> dict[str, Any]:
    """A message as templates expect it: text as content, known roles, arguments as objects."""
    plain = dict(message)
    plain["role"] = "system" if message["role"] == "developer" else message["role"]
    plain["content"] = _text_content(message.get("content") or message.get("refusal"))
    if message.get("tool_calls"):
        plain["tool_calls"] = [_parse_call_arguments(call) for call in message["tool_calls"]]
    return plain


def _text_content(content: Any) -> str:
    """A message's text: contents may come as a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _parse_call_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Templates print arguments as JSON themselves; a string would come out quoted twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except (TypeError, ValueError):
        # A model may have written what is no JSON; it stays the text it is.
        return {**call, "function": function}
    return {**call, "function": function}


def _tools_as_text(
    messages: Sequence[dict[str, Any]], tools: Sequence[Tool] | None
) -> list[dict[str, Any]]:
    """Tools, calls and their results as text, for a template that would drop them silently."""
    spelled = [_tool_message_as_text(message) for message in messages]
    if not tools:
        return spelled
    text = TOOLS_PROMPT.format(
        tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    )
    if spelled and spelled[0]["role"] == "system":
        first = {**spelled[0], "content": f"{spelled[0]['content']}\n\n{text}"}
        return [first, *spelled[1:]]
    return [{"role": "system", "content": text}, *spelled]


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
    named = {"name": function["name"], "arguments": function["arguments"]}
    return json.dumps(named, ensure_ascii=False)
