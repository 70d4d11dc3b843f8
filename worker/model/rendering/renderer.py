"""Chat rendering: messages to token ids, by the same code for training and serving.

The base model's own chat template renders the text once, and the whole text is tokenized once: the
ids are those of the template's `apply_chat_template(tokenize=True)`. Special tokens (such as
`<|im_end|>`) count as such only if the template wrote them: in a user's text they are encoded as
plain text, so a message can neither end its turn nor forge another one.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from worker.model.rendering.answer_format import AnswerFormat, AnswerFormatFinder
from worker.model.rendering.errors import PromptTooLong, RenderingError
from worker.model.rendering.examples import ExampleRenderer, RenderedChat
from worker.model.rendering.messages import Message, Tool
from worker.model.rendering.options import DEFAULT_OPTIONS, RenderingOptions
from worker.model.rendering.rows import TrainingRow
from worker.model.rendering.template import ChatTemplate
from worker.model.rendering.template_tokenizer import TemplateTokenizer

# Templates kept for the options of adapters; each is probed again when it is made.
MAX_TEMPLATES = 256


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The prompt of a chat, and the form in which its answer is read.

    `begins_reasoning` is true if the prompt ends inside of reasoning.
    """

    ids: list[int]
    begins_reasoning: bool
    answer_format: AnswerFormat


class Renderer:
    """Renders chats and texts for one tokenizer.

    `eos_ids` are the ids that end the base model's answers, beside those its template writes.
    Without a chat template, chats are written in PLAIN_TEMPLATE. With `has_cache`, what training
    examples have in common is tokenized once; for the texts of one tenant only, see TokenCache.
    `tokens`, if they are there already, are the tokenizer's.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        context_length: int,
        *,
        eos_ids: Sequence[int] = (),
        options: RenderingOptions = DEFAULT_OPTIONS,
        has_cache: bool = False,
        tokens: TemplateTokenizer | None = None,
    ) -> None:
        self.context_length = context_length
        self.options = options
        self._tokenizer = tokenizer
        self._tokens = tokens or TemplateTokenizer(tokenizer)
        self._example_tokens = self._tokens.with_cache() if has_cache else self._tokens
        self._eos_ids = eos_ids
        self._set_template(options)
        self._copies = lru_cache(MAX_TEMPLATES)(self._copy)

    def with_options(
        self, options: RenderingOptions, *, context_length: int | None = None
    ) -> "Renderer":
        """Return a renderer with other options or a shorter context, for the same tokenizer."""
        length = min(self.context_length, context_length or self.context_length)
        if options == self.options and length == self.context_length:
            return self
        return self._copies(options, length)

    def _copy(self, options: RenderingOptions, context_length: int) -> "Renderer":
        other = copy(self)
        other.context_length = context_length
        other._set_template(options)
        return other

    def _set_template(self, options: RenderingOptions) -> None:
        self.options = options
        self._template: ChatTemplate | RenderingError
        self._examples: ExampleRenderer | None = None
        self._answer_format: AnswerFormat | None = None
        end = self._tokenizer.eos_token_id
        ends = [end, *self._eos_ids] if isinstance(end, int) else self._eos_ids
        self.stop_ids = frozenset(ends)
        try:
            self._template = ChatTemplate(self._tokenizer, self._tokens, options, self._eos_ids)
        except RenderingError as error:
            # The model still reads and continues texts.
            self._template = error
        else:
            self.stop_ids = self._template.stop_ids
            self._examples = ExampleRenderer(
                self._template, self._example_tokens, self.context_length
            )

    @property
    def has_chat_template(self) -> bool:
        """False if chats are written in PLAIN_TEMPLATE, or not at all."""
        return isinstance(self._template, ChatTemplate) and not self._template.is_plain

    @property
    def adapter_metadata(self) -> dict[str, str]:
        """Metadata of an adapter that is trained on this renderer's rows."""
        return self.options.to_metadata(str(self._tokenizer.chat_template or ""))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def answer_format(self) -> AnswerFormat:
        """The form of answers. Found when it is first asked for: it needs several renderings."""
        if self._answer_format is None:
            self._answer_format = AnswerFormatFinder(self.template, self._tokens).find()
        return self._answer_format

    @property
    def reads_chats(self) -> bool:
        return isinstance(self._template, ChatTemplate)

    @property
    def template(self) -> ChatTemplate:
        """The chat template. Raises RenderingError if the base model cannot read chats."""
        if isinstance(self._template, RenderingError):
            raise RenderingError(str(self._template)) from self._template
        return self._template

    def render_example(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> RenderedChat:
        """Render a training example: usually one row, cut at its end to the context length.

        The loss covers the assistant's messages and the token that ends each, except messages with
        weight 0. Each follows the tokens that `render_prompt` makes of the messages before it.
        """
        if self._examples is None:
            raise RenderingError(str(self._template))
        return self._examples.render(messages, tools)

    def render_prompt(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """Render the prompt for the next assistant message: a prefix of its training row.

        Raises PromptTooLong, before tokenizing, if the prompt certainly exceeds the context length.
        """
        return self._encode_prompt(self._render_prompt(messages, tools, {}))

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        switches: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """Render a prompt as `render_prompt` does, and find the form of its answer.

        `switches` are variables of the template, of which those that it does not read have no
        effect. Raises RenderingError and PromptTooLong.
        """
        thinking = (switches or {}).get("enable_thinking")
        if isinstance(thinking, bool) and thinking != self.options.thinking:
            other = self.with_options(replace(self.options, thinking=thinking))
            return other.render_chat(messages, tools, switches)
        text = self._render_prompt(messages, tools, switches or {})
        is_reasoning = self.template.begins_reasoning(text)
        return ChatPrompt(self._encode_prompt(text), is_reasoning, self.answer_format)

    def _render_prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        switches: Mapping[str, Any],
    ) -> str:
        chat = self.template.prepare(messages, tools)
        return self.template.render(chat, answer=True, switches=switches)

    def _encode_prompt(self, prompt: str) -> list[int]:
        if (minimum := self._tokens.min_token_count(prompt)) > self.context_length:
            raise PromptTooLong(minimum)
        return self._tokens.encode(prompt)

    def encode_text(self, text: str) -> list[int]:
        """Tokenize plain text, in which special tokens count as such.

        An empty text becomes `[eos]`, so there is always a position to predict from.
        """
        ids: list[int] = self._tokenizer(text).input_ids
        if not ids and not self._end_of_text:
            raise RenderingError("The base model has no end token, so a text must not be empty.")
        return ids or self._end_of_text

    def min_token_count(self, text: str) -> int:
        """Compute a lower bound of the tokens in `text`, much faster than encoding it."""
        return self._tokens.min_plain_token_count(text)

    def render_completion(self, prompt: str, completion: str) -> TrainingRow:
        """Render a training row of two texts; the loss covers the second and the end token."""
        prompt, completion = self._read_part(prompt), self._read_part(completion)
        prompt_ids = self.encode_text(prompt)
        completion_ids: list[int] = self._tokenizer(completion, add_special_tokens=False).input_ids
        ids = np.array([*prompt_ids, *completion_ids, *self._end_of_text], dtype=np.int32)
        mask = np.arange(len(ids)) >= len(prompt_ids)
        length = self.context_length
        return TrainingRow(ids[:length], mask[:length], is_complete=len(ids) <= length)

    def _read_part(self, text: str) -> str:
        """Cut a text where it certainly exceeds the context length."""
        return self._tokens.head(text, self.context_length)

    @property
    def _end_of_text(self) -> list[int]:
        end = self._tokenizer.eos_token_id
        return [end] if isinstance(end, int) else sorted(self.stop_ids)[:1]
