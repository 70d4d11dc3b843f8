"""Legacy completions as OpenAI writes them: texts that go on, whole or as a stream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from app.errors import ApiError, InvalidRequest
from app.ids import random_alphanumeric
from app.wire.completions import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from app.wire.engine import ContentLogprob
from app.wire.engine_metadata import EngineMetadata, metadata_from_lengths
from app.wire.sampling import Usage
from worker.inference.choice_text import to_content_logprob
from worker.inference.engine_thread import EngineThread
from worker.inference.generation import ChoiceUpdate, Generation
from worker.inference.messages import FinishReason
from worker.inference.registry import LoadedModel, ServedCausalModel
from worker.inference.sse import DONE, format_event


@dataclass(frozen=True, slots=True)
class CompletionPrompt:
    """What is to be continued. `ids` are never empty, even if the text is."""

    text: str
    ids: list[int]


@dataclass(slots=True)
class _ChoiceBuffer:
    text: str = ""
    logprobs: list[ContentLogprob] = field(default_factory=list)
    reason: FinishReason = "length"

    @property
    def mean_logprob(self) -> float:
        total = sum(token.logprob for token in self.logprobs)
        return total / max(len(self.logprobs), 1)


class CompletionBuilder:
    """The continuations of several prompts in the making, all at once.

    Whoever made it calls `close` in the end, come what may.
    """

    def __init__(
        self,
        asked: CompletionRequest,
        prompts: Sequence[CompletionPrompt],
        served: ServedCausalModel,
        thread: EngineThread,
    ) -> None:
        """Raises InvalidRequest if `asked` does not fit the model."""
        self._asked = asked
        self._prompts = prompts
        self._vocabulary = served.base.vocabulary
        scored = bool(asked.echo) and asked.logprobs is not None
        for prompt in prompts:
            _check_context_length(len(prompt.ids), asked, served.base)
        self._generations = [
            Generation(prompt.ids, asked, served, thread, prompt_logprobs=scored)
            for prompt in prompts
        ]
        self._updates = _merge_updates(self._generations)
        self._id = f"cmpl-{random_alphanumeric(24)}"
        self._created = int(time.time())

    def submit(self) -> None:
        """Raises Unavailable if the engine has too much to do."""
        for generation in self._generations:
            generation.submit()

    def close(self) -> None:
        for generation in self._generations:
            generation.close()

    def metadata(self) -> EngineMetadata:
        """What the API is told of it, before there is any answer."""
        return metadata_from_lengths(
            [len(prompt.ids) for prompt in self._prompts], answer_id=self._id
        )

    async def build(self) -> Completion:
        """Raises ApiError if the engine failed."""
        asked = self._asked
        collected = [[_ChoiceBuffer() for _ in range(asked.num_choices)] for _ in self._prompts]
        async for place, update in self._updates:
            choice = collected[place][update.choice]
            choice.text += update.delta.text
            choice.logprobs += update.delta.logprobs
            choice.reason = update.finish_reason or choice.reason
        choices: list[CompletionChoice] = []
        for place, of_prompt in enumerate(collected):
            for choice in _select_best(of_prompt, asked.n or 1):
                choices.append(self._choice(len(choices), place, choice))
        return self._completion(choices, self._usage())

    async def first_update(self) -> tuple[int, ChoiceUpdate]:
        """Wait for the first piece, so that what fails before it is an ordinary error."""
        return await anext(self._updates)

    async def stream(self, first: tuple[int, ChoiceUpdate]) -> AsyncIterator[bytes]:
        """The events of an answer whose first piece was waited for already."""
        texts: dict[int, _ChoiceBuffer] = {}
        try:
            yield self._chunk(*first, texts)
            async for place, update in self._updates:
                yield self._chunk(place, update, texts)
        except ApiError as error:
            # The status is long sent; the SDKs raise when they read this.
            yield format_event(json.dumps(error.body()))
        else:
            if self._asked.include_usage:
                yield _format_chunk(self._completion([], self._usage()))
        yield DONE

    def _chunk(self, place: int, update: ChoiceUpdate, before: dict[int, _ChoiceBuffer]) -> bytes:
        """The event of one more piece; `before` is what each choice has said so far."""
        index = place * self._asked.num_choices + update.choice
        piece = _ChoiceBuffer(update.delta.text, update.delta.logprobs)
        said = before.get(index)
        choice = self._choice(index, place, piece, said=said)
        choice.finish_reason = update.finish_reason
        before[index] = _ChoiceBuffer((said.text if said else "") + piece.text)
        return _format_chunk(self._completion([choice], None))

    def _choice(
        self, index: int, place: int, choice: _ChoiceBuffer, *, said: _ChoiceBuffer | None = None
    ) -> CompletionChoice:
        """A choice, or with `said`, what it said before, a further piece of it."""
        prompt = self._prompts[place]
        echoed = bool(self._asked.echo) and said is None
        return CompletionChoice(
            text=prompt.text + choice.text if echoed else choice.text,
            index=index,
            logprobs=self._logprobs(place, choice, said.text if said else "", echoed=echoed),
            finish_reason=choice.reason,
        )

    def _logprobs(
        self, place: int, choice: _ChoiceBuffer, said: str, *, echoed: bool
    ) -> CompletionLogprobs | None:
        if self._asked.logprobs is None:
            return None
        tokens: list[ContentLogprob | str] = list(choice.logprobs)
        offset = len(self._prompts[place].text) + len(said)
        if echoed:
            tokens, offset = [*self._prompt_logprobs(place), *tokens], 0
        return _logprobs_table(tokens, offset, top=self._asked.logprobs > 0)

    def _prompt_logprobs(self, place: int) -> list[ContentLogprob | str]:
        """The prompt's tokens; the first, which nothing foretold, by its spelling alone."""
        if not self._prompts[place].text:
            return []
        spell = self._vocabulary.token_bytes
        return [
            spell(id).decode(errors="replace")
            if logprobs is None
            else to_content_logprob(self._vocabulary, id, logprobs)
            for id, logprobs in self._generations[place].prompt_logprobs
        ]

    def _completion(self, choices: list[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(
            id=self._id,
            created=self._created,
            model=self._asked.model,
            choices=choices,
            usage=usage,
        )

    def _usage(self) -> Usage:
        prompt = sum(generation.prompt_tokens for generation in self._generations)
        completion = sum(generation.completion_tokens for generation in self._generations)
        return Usage(
            prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
        )


async def tokenize_prompts(asked: CompletionRequest, base: LoadedModel) -> list[CompletionPrompt]:
    """The prompts with both text and ids; in a thread, because long texts take a while.

    Raises InvalidRequest for an id that the model does not have, and for too many of them.
    """
    return await asyncio.to_thread(
        lambda: [_tokenize_prompt(each, asked, base) for each in asked.prompt]
    )


def _tokenize_prompt(
    given: str | list[int], asked: CompletionRequest, base: LoadedModel
) -> CompletionPrompt:
    if isinstance(given, str):
        _check_context_length(
            base.renderer.min_token_count(given), asked, base, qualifier="at least "
        )
        return CompletionPrompt(given, base.renderer.encode_text(given))
    _check_context_length(len(given), asked, base)
    strange = [id for id in given if not 0 <= id < base.vocabulary.size]
    if strange:
        raise InvalidRequest(
            f"Invalid 'prompt': this model has no token {strange[0]}.",
            param="prompt",
            code="invalid_value",
        )
    spelled = b"".join(base.vocabulary.token_bytes(id) for id in given)
    return CompletionPrompt(spelled.decode(errors="replace"), given)


def _check_context_length(
    have: int, asked: CompletionRequest, base: LoadedModel, *, qualifier: str = ""
) -> None:
    """Raises InvalidRequest if a prompt of so many tokens, or of `known` "at least " so many,
    leaves no room."""
    length = base.renderer.context_length
    if have + asked.max_new_tokens > length:
        raise InvalidRequest(
            f"This model's maximum context length is {length} tokens, however you requested "
            f"{qualifier}{have + asked.max_new_tokens} tokens ({qualifier}{have} in your prompt; {asked.max_new_tokens} for "
            "the completion). Please reduce your prompt; or completion length.",
            param="prompt",
            code="context_length_exceeded",
        )


async def _merge_updates(
    generations: Sequence[Generation],
) -> AsyncIterator[tuple[int, ChoiceUpdate]]:
    """The updates of all, as they come, each with its generation's place."""
    coming: asyncio.Queue[tuple[int, ChoiceUpdate] | Exception | None] = asyncio.Queue()

    async def pass_on(place: int, generation: Generation) -> None:
        try:
            async for update in generation.updates():
                coming.put_nowait((place, update))
            coming.put_nowait(None)
        except Exception as error:  # raised below, where somebody waits
            coming.put_nowait(error)

    tasks = [asyncio.ensure_future(pass_on(*pair)) for pair in enumerate(generations)]
    try:
        running = len(tasks)
        while running:
            come = await coming.get()
            if isinstance(come, Exception):
                raise come
            if come is None:
                running -= 1
            else:
                yield come
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _select_best(choices: Sequence[_ChoiceBuffer], n: int) -> Sequence[_ChoiceBuffer]:
    """Those `n` of the highest mean log-probability, the best first; all as they are if all are
    wanted."""
    if len(choices) == n:
        return choices
    return sorted(choices, key=lambda choice: choice.mean_logprob, reverse=True)[:n]


def _logprobs_table(
    tokens: Iterable[ContentLogprob | str], offset: int, *, top: bool
) -> CompletionLogprobs:
    """OpenAI's columns. Offsets count characters of prompt and text, from `offset`."""
    table = CompletionLogprobs(
        tokens=[], token_logprobs=[], top_logprobs=[] if top else None, text_offset=[]
    )
    for token in tokens:
        spelling = token if isinstance(token, str) else token.token
        table.tokens.append(spelling)
        table.token_logprobs.append(None if isinstance(token, str) else token.logprob)
        table.text_offset.append(offset)
        offset += len(spelling)
        if table.top_logprobs is not None:
            table.top_logprobs.append(None if isinstance(token, str) else _top_logprobs(token))
    return table


def _top_logprobs(token: ContentLogprob) -> dict[str, float]:
    """The likeliest, and the chosen one, by their spelling; of two alike the likelier."""
    ranked = sorted([*token.top_logprobs, token], key=lambda each: each.logprob)
    return {each.token: each.logprob for each in ranked}


def _format_chunk(chunk: Completion) -> bytes:
    unset = {"usage"} if chunk.usage is None else None
    return format_event(chunk.model_dump_json(exclude=unset))
