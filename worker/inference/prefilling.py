"""Prefill: computes the prompts of new requests by chunks, several in one pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from worker.inference import shares
from worker.inference.decoder import Decoder, PrefillOutput, PromptChunk
from worker.inference.messages import (
    Finished,
    PooledOutput,
    PrefixReused,
    PromptLogprobs,
    Request,
)
from worker.inference.metrics import EngineStats, LatencyMetrics
from worker.inference.prefix_cache import PrefixKeys, PrefixScope
from worker.inference.sampling import token_logprobs
from worker.inference.scheduler import Scheduler
from worker.inference.slots import Prefill


class Prefiller:
    """The part of an engine that computes prompts, which are in slots already."""

    def __init__(
        self,
        decoder: Decoder,
        scheduler: Scheduler,
        stats: EngineStats,
        latency: LatencyMetrics,
        *,
        vocab_size: int,
        fail: Callable[[Request, Exception], None],
    ) -> None:
        """`fail` ends a request with an error."""
        self._decoder = decoder
        self._scheduler = scheduler
        self._stats = stats
        self._latency = latency
        self._vocab_size = vocab_size
        self._fail = fail

    def compute(self, planned: list[tuple[Prefill, int]]) -> None:
        """Compute the next chunks of prompts in one pass, but those that the prefix cache has."""
        chunks: list[tuple[Prefill, PromptChunk]] = []
        # Blocks that other prompts find in the prefix cache after this pass.
        computed: set[bytes] = set()
        for prefill, tokens in planned:
            with self._failing(prefill.request):
                if chunk := self._next_chunk(prefill, tokens, computed):
                    chunks.append((prefill, chunk))
        self._compute_chunks(chunks)

    @contextmanager
    def _failing(self, request: Request) -> Iterator[None]:
        """Fail a request with whatever error is raised."""
        try:
            yield
        except Exception as error:
            self._fail(request, error)

    def _next_chunk(
        self, prefill: Prefill, tokens: int, computed: set[bytes]
    ) -> PromptChunk | None:
        """Return the next chunk of a prompt; None if it was known, or will be after this pass."""
        request, start = prefill.request, prefill.num_computed
        if prefill.prefix_keys is None:
            self._latency.prompt_begun(request.submitted_at)
        if start == 0:
            self._decoder.begin_prefill(prefill.slot, request.adapter)
        if self._load_prefix(prefill):
            return None
        ids = request.prompt[start : start + tokens]
        blocks = _prefix_keys(prefill).whole_blocks(start, start + len(ids))
        if _can_use_prefix(request) and not computed.isdisjoint(blocks):
            return None
        computed.update(blocks)
        is_last = len(ids) == prefill.num_remaining
        num_logits = len(ids) if request.prompt_logprobs else int(is_last and not request.pooling)
        return PromptChunk(prefill.slot, ids, start, num_logits)

    def _compute_chunks(self, chunks: list[tuple[Prefill, PromptChunk]]) -> None:
        """Compute chunks in one pass.

        If it fails, each is retried alone, so that only the requests that caused the error fail.
        """
        if not chunks:
            return
        try:
            outputs = self._decoder.prefill([chunk for _, chunk in chunks])
        except Exception as error:
            if len(chunks) == 1:
                self._fail(chunks[0][0].request, error)
                return
            for each in chunks:
                self._compute_chunks([each])
            return
        for (prefill, chunk), output in zip(chunks, outputs, strict=True):
            with self._failing(prefill.request):
                self._end_chunk(prefill, chunk, output)

    def _end_chunk(self, prefill: Prefill, chunk: PromptChunk, output: PrefillOutput) -> None:
        request = prefill.request
        prefill.num_computed += len(chunk.ids)
        prefill.num_served += len(chunk.ids)
        self._stats.prompt_tokens += len(chunk.ids)
        # By chunks: copying all of a long prompt at once would hold up the running streams.
        keys, end = _prefix_keys(prefill), prefill.num_computed
        self._decoder.save_prefix(prefill.slot, keys, chunk.start, end)
        if request.prompt_logprobs:
            self._emit_prompt_logprobs(request, chunk.start, output.logits)
        if request.pooling:
            self._pool_hidden_states(prefill, output.hidden)
        elif prefill.is_computed:
            self._end_prompt(prefill, output.logits[-1:])

    def _load_prefix(self, prefill: Prefill) -> bool:
        """Load what is known of the next tokens of a prompt; return False if nothing is."""
        request = prefill.request
        if not _can_use_prefix(request):
            return False
        # The last token is computed in any case: its logits are not kept.
        start, end = prefill.num_computed, len(request.prompt) - 1
        known = self._decoder.load_prefix(prefill.slot, _prefix_keys(prefill), start, end)
        if not known:
            return False
        prefill.num_computed += known
        prefill.num_served += known
        self._stats.cached_prompt_tokens += known
        request.emit(PrefixReused(known))
        return True

    def _emit_prompt_logprobs(self, request: Request, start: int, logits: Tensor) -> None:
        """Emit prompt log-probabilities. `logits[i]` predicts token `start + i + 1`."""
        if start == 0:
            request.emit(PromptLogprobs(((request.prompt[0], None),)))
        tokens = request.prompt[start + 1 : start + 1 + len(logits)]
        top = request.sampling.top_logprobs or 0
        logprobs = token_logprobs(logits[: len(tokens), : self._vocab_size], tokens, top)
        request.emit(PromptLogprobs(tuple(zip(tokens, logprobs, strict=True))))

    def _pool_hidden_states(self, prefill: Prefill, hidden: Tensor) -> None:
        total = hidden.float().sum(dim=0)
        prefill.hidden_sum = total if prefill.hidden_sum is None else prefill.hidden_sum + total
        if prefill.is_computed:
            self._scheduler.end_prefill(prefill)
            prefill.request.emit(
                PooledOutput(tuple((prefill.hidden_sum / prefill.num_computed).tolist()))
            )

    def _end_prompt(self, prefill: Prefill, logits: Tensor) -> None:
        """Keep the prompt's logits for its choices, unless it has nothing to generate."""
        if prefill.request.max_new_tokens:
            prefill.logits = logits.clone()
            self._scheduler.prefill_computed(prefill)
            return
        self._scheduler.end_prefill(prefill)
        for choice in range(prefill.request.num_choices):
            prefill.request.emit(Finished(choice, "length"))


def _can_use_prefix(request: Request) -> bool:
    """True unless a request needs the output of each token of its prompt."""
    return not (request.pooling or request.prompt_logprobs)


def _prefix_keys(prefill: Prefill) -> PrefixKeys:
    """Return the keys of a prompt, computed at its first chunk."""
    if prefill.prefix_keys is None:
        request = prefill.request
        adapter = request.adapter.prefix if request.adapter else None
        scope = PrefixScope(shares.find_project(request.project), adapter)
        prefill.prefix_keys = PrefixKeys.of(scope, request.prompt)
    return prefill.prefix_keys
