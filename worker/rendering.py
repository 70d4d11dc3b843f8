"""Messages to token ids: the one place where training and serving agree on what a chat looks like.

The base model's own template makes the text. Special tokens (`<|im_end|>` and the like) count as
such only where the template wrote them: a user's text that contains one is encoded letter by
letter, so that it can neither end its turn nor forge another.
"""

import copy
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]


class RenderingError(ValueError):
    """The model's chat template refuses these messages; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One training row. `loss_mask[i]` says whether token i is to be learned."""

    ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where an assistant's text lies in the rendered text: from behind its header to its end."""

    start: int
    end: int
    learned: bool


class Renderer:
    """Renders chats with one tokenizer. Raises ValueError if the tokenizer has no chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context_length: int) -> None:
        if not tokenizer.chat_template:
            raise ValueError("The base model's tokenizer has no chat template.")
        self._tokenizer = tokenizer
        self.context_length = context_length
        self._special = {
            token.content: id
            for id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        longest_first = sorted(self._special, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        # A copy that takes no special token for one; `_encode` puts those in itself.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True
        self._plain.no_truncation()
        self._plain.no_padding()
        # Stands for special tokens in users' text while the template is at work. Letters only, so
        # that no template trims, escapes or splits it; random, so that no user's text holds it.
        self._cover = f"cover{secrets.token_hex(8)}x"
        self._covered_pattern = re.compile(rf"{self._cover}(\d+)x")
        self._special_names = longest_first
        self._header = self._find_header()
        self.stop_ids = self._find_stop_ids()

    def example(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> Rendered:
        """A training row, cut at the end to the context length.

        Learned are the texts of the assistant and the token that ends each, but for messages with
        weight 0. A template that rewrites earlier turns (as some reasoning models' do)
        leaves only those turns to learn that stand as the model will see them when it answers.
        """
        clean = self._clean(messages)
        text = self._render(clean, tools)
        turns = self._turns(text, messages, clean, tools)
        ids: list[int] = []
        mask: list[bool] = []
        position = 0
        for turn in turns:
            for end, learned in ((turn.start, False), (turn.end, turn.learned)):
                piece = self._encode(text[position:end])
                ids += piece
                mask += [learned] * len(piece)
                position = end
        rest = self._encode(text[position:])
        ids += rest
        mask += [False] * len(rest)
        return Rendered(ids[: self.context_length], mask[: self.context_length])

    def prompt(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """The ids after which the assistant speaks: its training row starts with exactly these."""
        clean = self._clean(messages)
        text = self._render(clean, tools, answer=True)
        ids: list[int] = []
        position = 0
        for turn in self._turns(text, messages, clean, tools):
            ids += self._encode(text[position : turn.start]) + self._encode(
                text[turn.start : turn.end]
            )
            position = turn.end
        return ids + self._encode(text[position:])

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        answer: bool = False,
    ) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),  # type: ignore[arg-type]  # contents of tools are no str
                tools=self._cover_up(tools) if tools else None,
                tokenize=False,
                add_generation_prompt=answer,
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise RenderingError(
                f"The model's chat template refuses these messages: {error}"
            ) from error
        return str(text)

    def _turns(
        self,
        text: str,
        messages: Sequence[Message],
        clean: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> list[_Turn]:
        """The assistant's turns in `text`, by comparing it with renderings of fewer messages."""
        turns = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = self._start(text, clean[:index], tools)
            upto = self._render(clean[: index + 1], tools)
            if start is None or not text.startswith(upto):
                continue
            turns.append(_Turn(start, self._end(upto, start), message.get("weight") != 0))
        return turns

    def _start(
        self, text: str, before: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> int | None:
        if not before:
            # Nobody spoke before; many templates cannot render that. The first header is the place.
            found = text.find(self._header)
            return None if found < 0 else found + len(self._header)
        prompt = self._render(before, tools, answer=True)
        return len(prompt) if text.startswith(prompt) else None

    def _end(self, upto: str, start: int) -> int:
        """Behind the last special token, so that a newline after it is not learned."""
        ends = [match.end() for match in self._special_pattern.finditer(upto, start)]
        return ends[-1] if ends else len(upto)

    def _encode(self, text: str) -> list[int]:
        """Ids of template text with users' text in it."""
        ids: list[int] = []
        position = 0
        for match in self._special_pattern.finditer(text):
            ids += self._encode_plain(text[position : match.start()])
            ids.append(self._special[match.group()])
            position = match.end()
        return ids + self._encode_plain(text[position:])

    def _encode_plain(self, text: str) -> list[int]:
        shown = self._covered_pattern.sub(lambda m: self._special_names[int(m[1])], text)
        return list(self._plain.encode(shown, add_special_tokens=False).ids) if shown else []

    def _cover_up(self, value: Any) -> Any:
        """`value` with each special token in its strings replaced by what stands for it."""
        if isinstance(value, str):
            return self._special_pattern.sub(
                lambda m: f"{self._cover}{self._special_names.index(m[0])}x", value
            )
        if isinstance(value, Mapping):
            return {self._cover_up(key): self._cover_up(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._cover_up(item) for item in value]
        return value

    def _clean(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """Messages as chat templates expect them: text contents, known roles, no wire fields."""
        return [self._cover_up(_plain_message(message)) for message in messages]

    def _find_header(self) -> str:
        """What the template puts before an assistant's text."""
        probe = [{"role": "user", "content": "x"}]
        without, with_header = self._render(probe), self._render(probe, answer=True)
        return with_header.removeprefix(without)

    def _find_stop_ids(self) -> frozenset[int]:
        """The end of text, and the special token that the template puts behind an answer."""
        mark = f"{self._cover}end"
        probe = [{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}]
        behind = self._special_pattern.search(self._render(probe).rpartition(mark)[2])
        ids = {self._tokenizer.eos_token_id, behind and self._special[behind.group()]}
        return frozenset(id for id in ids if id is not None)


def _plain_message(message: Message) -> dict[str, Any]:
    plain = {key: value for key, value in message.items() if key not in ("weight", "refusal")}
    plain["role"] = "system" if message["role"] == "developer" else message["role"]
    plain["content"] = _text(message.get("content") or message.get("refusal"))
    if message.get("tool_calls"):
        plain["tool_calls"] = [_with_parsed_arguments(call) for call in message["tool_calls"]]
    return plain


def _text(content: Any) -> str:
    """A message's text: contents may come as a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _with_parsed_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """Templates print arguments as JSON themselves; a string would come out quoted twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except (TypeError, ValueError):
        return {**call, "function": function}
    return {**call, "function": function}
