"""Responses of OpenAI's legacy completions: whole, or as a stream of chunks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from app.errors import ApiError, InvalidRequest
from app.ids import random_alphanumeric
from app.wire.completions import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from app.wire.engine import ContentLogprob
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from app.wire.sampling import Usage
from worker.inference.choice_text import to_content_logprob
from worker.inference.engine_thread import EngineThread
from worker.inference.generation import ChoiceBuffer, ChoiceUpdate, Generation
from worker.inference.grammar.grammar import TextRules
from worker.inference.loaded_model import LoadedModel
from worker.inference.registry import ServedCausalModel
from worker.inference.sse import DONE, format_event


@dataclass(frozen=True, slots=True)
class CompletionPrompt:
    """A prompt. `ids` are never empty, even if the text is."""

    text: str
    ids: list[int]


class CompletionBuilder:
    """Builds the response to a request of one or more prompts, which run concurrently.

    The creator must always call `close`, also after an error.
    """

    def __init__(
        self,
        request: CompletionRequest,
        prompts: Sequence[CompletionPrompt],
        served: ServedCausalModel,
        thread: EngineThread,
        *,
        project: str,
        grammar: TextRules | None = None,
    ) -> None:
        """Build a generation per prompt. Raises InvalidRequest if one does not fit the model."""
        self._request = request
        self._prompts = prompts
        self._vocabulary = served.base.vocabulary
        prompt_logprobs = bool(request.echo) and request.logprobs is not None
        for prompt in prompts:
            _check_context_length(len(prompt.ids), request, served.base)
        self._generations = [
            Generation(
                prompt.ids,
                request,
                served,
                thread,
                project=project,
                prompt_logprobs=prompt_logprobs,
                grammar=grammar,
            )
            for prompt in prompts
        ]
        self._updates = _merge_updates(self._generations)
        # By prompt: its choices echo the same tokens.
        self._echoed_tokens: dict[int, list[ContentLogprob | str]] = {}
        self._id = f"cmpl-{random_alphanumeric(24)}"
        self._created = int(time.time())

    def submit(self) -> None:
        """Queue all prompts. Raises ServiceUnavailable or RateLimited if the queue is full."""
        for generation in self._generations:
            generation.submit()

    def close(self) -> None:
        for generation in self._generations:
            generation.close()

    def metadata(self) -> EngineMetadata:
        """Metadata for the API, available before the first token."""
        return metadata_from_lengths(
            [len(prompt.ids) for prompt in self._prompts], response_id=self._id
        )

    async def build(self) -> Completion:
        """Collect the whole response. Raises ApiError if the engine failed."""
        request = self._request
        collected = [[ChoiceBuffer() for _ in range(request.num_choices)] for _ in self._prompts]
        async for prompt_index, update in self._updates:
            collected[prompt_index][update.choice].add(update)
        choices: list[CompletionChoice] = []
        for prompt_index, candidates in enumerate(collected):
            for choice in _select_best(candidates, request.n or 1):
                choices.append(self._choice(len(choices), prompt_index, choice))
        return self._completion(choices, self._usage())

    async def first_update(self) -> tuple[int, ChoiceUpdate]:
        """Wait for the first update, so that an earlier failure is an ordinary error response."""
        return await anext(self._updates)

    async def stream(self, first: tuple[int, ChoiceUpdate]) -> AsyncIterator[bytes]:
        """Yield the events of the response, given its first update."""
        offsets: dict[int, int] = {}
        try:
            yield self._chunk(*first, offsets)
            async for prompt_index, update in self._updates:
                yield self._chunk(prompt_index, update, offsets)
        except ApiError as error:
            # The status was sent already; OpenAI's SDKs raise when they read this event.
            yield format_event(json.dumps(error.body()))
        else:
            if self._request.include_usage:
                yield _format_chunk(self._completion([], self._usage()))
        yield DONE

    def _chunk(self, prompt_index: int, update: ChoiceUpdate, offsets: dict[int, int]) -> bytes:
        """Format one update; `offsets` has the text offset of each choice's next token."""
        index = prompt_index * self._request.num_choices + update.choice
        delta = ChoiceBuffer(update.delta.text, update.delta.logprobs)
        choice = self._choice(index, prompt_index, delta, offset=offsets.get(index))
        choice.finish_reason = update.finish_reason
        offsets.setdefault(index, len(self._prompts[prompt_index].text))
        if choice.logprobs and choice.logprobs.tokens:
            offsets[index] = choice.logprobs.text_offset[-1] + len(choice.logprobs.tokens[-1])
        return _format_chunk(self._completion([choice], None))

    def _choice(
        self,
        index: int,
        prompt_index: int,
        choice: ChoiceBuffer,
        *,
        offset: int | None = None,
    ) -> CompletionChoice:
        """Render a whole choice or its first chunk; or, after others, a further chunk of it.

        `offset` is the text offset of a further chunk's first token.
        """
        prompt = self._prompts[prompt_index]
        echoed = bool(self._request.echo) and offset is None
        return CompletionChoice(
            text=prompt.text + choice.text if echoed else choice.text,
            index=index,
            logprobs=self._logprobs(prompt_index, choice, offset, echoed=echoed),
            finish_reason=choice.finish_reason,
        )

    def _logprobs(
        self, prompt_index: int, choice: ChoiceBuffer, offset: int | None, *, echoed: bool
    ) -> CompletionLogprobs | None:
        if self._request.logprobs is None:
            return None
        tokens: list[ContentLogprob | str] = list(choice.logprobs)
        if echoed:
            tokens, offset = [*self._prompt_logprobs(prompt_index), *tokens], 0
        elif offset is None:
            offset = len(self._prompts[prompt_index].text)
        return _logprobs_table(tokens, offset, top=self._request.logprobs > 0)

    def _prompt_logprobs(self, prompt_index: int) -> list[ContentLogprob | str]:
        """List the prompt's tokens. The first has no log-probability, only its text."""
        if prompt_index not in self._echoed_tokens:
            self._echoed_tokens[prompt_index] = self._read_prompt_logprobs(prompt_index)
        return self._echoed_tokens[prompt_index]

    def _read_prompt_logprobs(self, prompt_index: int) -> list[ContentLogprob | str]:
        if not self._prompts[prompt_index].text:
            return []
        return [
            self._vocabulary.token_bytes(id).decode(errors="replace")
            if logprobs is None
            else to_content_logprob(self._vocabulary, id, logprobs)
            for id, logprobs in self._generations[prompt_index].prompt_logprobs
        ]

    def _completion(self, choices: list[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=choices,
            usage=usage,
        )

    def _usage(self) -> Usage:
        return Usage.of(
            sum(generation.prompt_tokens for generation in self._generations),
            sum(generation.completion_tokens for generation in self._generations),
            cached_tokens=sum(generation.cached_tokens for generation in self._generations),
        )


async def tokenize_prompts(
    request: CompletionRequest, base: LoadedModel, project: str
) -> list[CompletionPrompt]:
    """Tokenize the prompts in turn with other projects'; prompts of token ids are decoded.

    Raises InvalidRequest for an unknown token id and for a prompt that exceeds the context.
    """
    return [
        await base.rendering.run(
            project, len(prompt), partial(_tokenize_prompt, prompt, request, base)
        )
        for prompt in request.prompt
    ]


def _tokenize_prompt(
    prompt: str | list[int], request: CompletionRequest, base: LoadedModel
) -> CompletionPrompt:
    if isinstance(prompt, str):
        _check_context_length(
            base.renderer.min_token_count(prompt), request, base, qualifier="at least "
        )
        return CompletionPrompt(prompt, base.renderer.encode_text(prompt))
    _check_context_length(len(prompt), request, base)
    unknown_ids = [id for id in prompt if not 0 <= id < base.vocabulary.size]
    if unknown_ids:
        raise InvalidRequest(
            f"Invalid 'prompt': this model has no token {unknown_ids[0]}.",
            param="prompt",
            code="invalid_value",
        )
    text = b"".join(base.vocabulary.token_bytes(id) for id in prompt)
    return CompletionPrompt(text.decode(errors="replace"), prompt)


def _check_context_length(
    num_tokens: int, request: CompletionRequest, base: LoadedModel, *, qualifier: str = ""
) -> None:
    """Raise InvalidRequest if prompt and completion exceed the context.

    `qualifier` is "at least " where `num_tokens` is a lower bound.
    """
    length, wanted = base.renderer.context_length, request.max_new_tokens
    if num_tokens + wanted > length:
        raise InvalidRequest(
            f"This model's maximum context length is {length} tokens, however you requested "
            f"{qualifier}{num_tokens + wanted} tokens ({qualifier}{num_tokens} in your prompt; "
            f"{wanted} for the completion). Please reduce your prompt; or completion length.",
            param="prompt",
            code="context_length_exceeded",
        )


async def _merge_updates(
    generations: Sequence[Generation],
) -> AsyncIterator[tuple[int, ChoiceUpdate]]:
    """Yield the updates of all generations as they arrive, each with its prompt's index."""
    queue: asyncio.Queue[tuple[int, ChoiceUpdate] | Exception | None] = asyncio.Queue()

    async def forward(prompt_index: int, generation: Generation) -> None:
        try:
            async for update in generation.updates():
                queue.put_nowait((prompt_index, update))
            queue.put_nowait(None)
        except Exception as error:  # raised below, in the consumer
            queue.put_nowait(error)

    tasks = [asyncio.ensure_future(forward(*pair)) for pair in enumerate(generations)]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _select_best(choices: Sequence[ChoiceBuffer], n: int) -> Sequence[ChoiceBuffer]:
    """Select the `n` choices of highest mean log-probability, best first; unsorted if all."""
    if len(choices) == n:
        return choices
    return sorted(choices, key=lambda choice: choice.mean_logprob, reverse=True)[:n]


def _logprobs_table(
    tokens: Iterable[ContentLogprob | str], offset: int, *, top: bool
) -> CompletionLogprobs:
    """Build OpenAI's legacy columns.

    Text offsets count the characters of tokens, from `offset`: a stream does not have the whole
    characters of tokens that end inside one.
    """
    table = CompletionLogprobs(
        tokens=[], token_logprobs=[], top_logprobs=[] if top else None, text_offset=[]
    )
    for token in tokens:
        text = token if isinstance(token, str) else token.token
        table.tokens.append(text)
        table.token_logprobs.append(None if isinstance(token, str) else token.logprob)
        table.text_offset.append(offset)
        offset += len(text)
        if table.top_logprobs is not None:
            table.top_logprobs.append(None if isinstance(token, str) else _top_logprobs(token))
    return table


def _top_logprobs(token: ContentLogprob) -> dict[str, float]:
    """Log-probabilities of the top tokens and the sampled one, by their text.

    If two tokens have the same text, the more likely one counts.
    """
    ranked = sorted([*token.top_logprobs, token], key=lambda entry: entry.logprob)
    return {entry.token: entry.logprob for entry in ranked}


def _format_chunk(chunk: Completion) -> bytes:
    unset = {"usage"} if chunk.usage is None else None
    return format_event(chunk.model_dump_json(exclude=unset))
