"""One choice of a chat completion: its text, reasoning and calls, whole or as deltas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.ids import random_alphanumeric
from app.wire.engine import (
    AssistantMessage,
    ChatCompletionRequest,
    ChatFinishReason,
    ContentLogprob,
    Delta,
)
from app.wire.sampling import FinishReason
from app.wire.tools import CalledFunction, FunctionDelta, ToolCall, ToolCallDelta
from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.answers.parts import (
    ArgumentsPart,
    CallPart,
    Part,
    ReasoningPart,
    TextPart,
)
from worker.inference.generation import ChoiceUpdate
from worker.inference.response_format import wants_json
from worker.model.rendering import ChatPrompt


@dataclass(slots=True)
class ChatAnswer:
    """Everything that a choice has answered so far.

    `logprobs` are those of all tokens, also of calls, that were not taken yet.
    """

    parser: AnswerParser | None
    is_legacy: bool
    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[ContentLogprob] = field(default_factory=list)
    finish_reason: ChatFinishReason | None = None
    reasoning_tokens: int = 0

    def add(self, update: ChoiceUpdate) -> Iterator[Delta]:
        """Add an update, and yield what it adds to the message."""
        self.logprobs += update.delta.logprobs
        text = update.delta.text
        if self.parser is None:
            parts: list[Part] = [TextPart(text)] if text else []
        else:
            was_in_reasoning = self.parser.is_in_reasoning
            parts = self.parser.push(text)
            if was_in_reasoning or self.parser.is_in_reasoning:
                self.reasoning_tokens = update.num_tokens
            if update.finish_reason is not None:
                parts += self.parser.finish()
        for part in parts:
            yield self._add_part(part)
        if update.finish_reason is not None or (self.parser and self.parser.is_done):
            self.finish_reason = self._find_finish_reason(update.finish_reason or "stop")

    def take_logprobs(self) -> list[ContentLogprob]:
        taken, self.logprobs = self.logprobs, []
        return taken

    def to_message(self) -> AssistantMessage:
        content = None if self.calls and not self.text else self.text
        message = AssistantMessage(role="assistant", content=content, refusal=None, annotations=[])
        # Assigned only if there are some: fields that are not set are not sent.
        if self.reasoning:
            message.reasoning_content = self.reasoning
        if self.calls and self.is_legacy:
            message.function_call = self.calls[0].function
        elif self.calls:
            message.tool_calls = self.calls
        return message

    def _add_part(self, part: Part) -> Delta:
        match part:
            case TextPart(text):
                self.text += text
                return Delta(content=text)
            case ReasoningPart(text):
                self.reasoning += text
                return Delta(reasoning_content=text)
            case CallPart(name):
                return self._begin_call(name)
            case ArgumentsPart(text):
                self.calls[-1].function.arguments += text
                return self._call_delta(FunctionDelta(arguments=text))

    def _begin_call(self, name: str) -> Delta:
        call = ToolCall(
            id=f"call_{random_alphanumeric(24)}",
            type="function",
            function=CalledFunction(name=name, arguments=""),
        )
        self.calls.append(call)
        return self._call_delta(FunctionDelta(name=name, arguments=""), id=call.id)

    def _call_delta(self, function: FunctionDelta, *, id: str | None = None) -> Delta:
        if self.is_legacy:
            return Delta(function_call=function)
        delta = ToolCallDelta(index=len(self.calls) - 1, function=function)
        if id is not None:
            delta.id, delta.type = id, "function"
        return Delta(tool_calls=[delta])

    def _find_finish_reason(self, reason: FinishReason) -> ChatFinishReason:
        is_cut = self.parser is not None and self.parser.is_cut
        if reason != "stop" or not self.calls or is_cut:
            return reason
        return "function_call" if self.is_legacy else "tool_calls"


def has_parts(request: ChatCompletionRequest, prompt: ChatPrompt) -> bool:
    """Check whether an answer may be more than a text."""
    return bool(request.callable_functions) or not prompt.answer_format.is_plain


def find_special_texts(request: ChatCompletionRequest, prompt: ChatPrompt) -> Mapping[int, str]:
    """Find what special tokens are in the text of an answer; none if it is not parsed."""
    return prompt.answer_format.special if has_parts(request, prompt) else {}


def make_parser(request: ChatCompletionRequest, prompt: ChatPrompt) -> AnswerParser:
    return AnswerParser(
        prompt.answer_format,
        request.callable_functions,
        is_reasoning=prompt.begins_reasoning,
        max_calls=request.max_calls,
        is_text_last=wants_json(request.response_format),
    )


def make_answer(request: ChatCompletionRequest, prompt: ChatPrompt) -> ChatAnswer:
    parser = make_parser(request, prompt) if has_parts(request, prompt) else None
    return ChatAnswer(parser, is_legacy=bool(request.functions))
