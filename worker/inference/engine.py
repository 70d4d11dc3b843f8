"""Continuous batching of one base model: each step advances all running sequences together.

Works on token ids only. The server handles text, stop strings and HTTP.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from app import logs
from app.errors import ApiError, InvalidRequest
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.decoder import Decoder
from worker.inference.messages import (
    Failed,
    Finished,
    Logprobs,
    PooledOutput,
    PromptLogprobs,
    Request,
    Token,
)
from worker.inference.sampling import Sampler, sample, token_logprobs
from worker.inference.scheduler import Prefill, Scheduler, Sequence, SlotMove

# Chunked prefill: tokens of a prompt computed between two decoding steps, about 0.1 s with a small
# model on two cores. Larger chunks stall the running streams; smaller ones slow the prefill.
PREFILL_CHUNK_TOKENS = 256

log = logs.get_logger(__name__)


@dataclass(slots=True)
class EngineStats:
    """Totals since the start, and the current load. Written by the engine thread only."""

    running_requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    failed_requests: int = 0


class Engine:
    """The engine of one base model. Not thread-safe, but other threads may read `stats`."""

    def __init__(self, decoder: Decoder, *, vocab_size: int) -> None:
        self.decoder = decoder
        self.scheduler = Scheduler(decoder.num_slots)
        self.stats = EngineStats()
        # Models pad their vocabulary to a round size; ids beyond the tokenizer's are invalid.
        self._vocab_size = vocab_size

    def submit(self, request: Request) -> None:
        self.scheduler.waiting.append(request)

    def abort(self, request: Request, choice: int | None = None) -> None:
        """Drop a request, or one choice of it, without emitting an event.

        No-op if it has finished.
        """
        self._apply_moves(self.scheduler.abort(request, choice))
        self.stats.running_requests = sum(1 for _ in self.scheduler.active_requests())

    @property
    def is_idle(self) -> bool:
        return self.scheduler.is_idle

    def fail_all(self, error: ApiError) -> None:
        """End every request with an error.

        Does not touch tensors, which may have caused the error.
        """
        for request in self.scheduler.clear():
            request.emit(Failed(error))

    @torch.inference_mode()
    def step(self) -> None:
        """Prefill one chunk of a prompt, then decode one token for every running sequence."""
        prefill = self.scheduler.next_prefill()
        if prefill is not None:
            try:
                self._prefill_chunk(prefill)
            except Exception as error:
                self._fail_request(prefill.request, self._log_and_convert_error(error))
        if self.scheduler.running:
            self._decode(0, len(self.scheduler.running))
        self.stats.running_requests = sum(1 for _ in self.scheduler.active_requests())

    def _prefill_chunk(self, prefill: Prefill) -> None:
        request, start = prefill.request, prefill.num_computed
        if start == 0:
            self.decoder.begin_prefill(request.adapter)
        chunk = request.prompt[start : start + PREFILL_CHUNK_TOKENS]
        output = self.decoder.prefill(
            chunk, start, num_logits=len(chunk) if request.prompt_logprobs else 1
        )
        prefill.num_computed += len(chunk)
        self.stats.prompt_tokens += len(chunk)
        if request.prompt_logprobs:
            self._emit_prompt_logprobs(request, start, output.logits)
        if request.pooling:
            self._pool_hidden_states(prefill, output.hidden)
        elif prefill.num_computed == len(request.prompt):
            self._start_choices(request, output.logits[-1:])

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
        if prefill.num_computed == len(prefill.request.prompt):
            self.scheduler.finish_prefill()
            prefill.request.emit(
                PooledOutput(tuple((prefill.hidden_sum / prefill.num_computed).tolist()))
            )

    def _start_choices(self, request: Request, logits: Tensor) -> None:
        """Sample each choice's first token from the prompt's logits and give the choice a slot."""
        self.scheduler.finish_prefill()
        if request.max_new_tokens == 0:
            for choice in range(request.num_choices):
                request.emit(Finished(choice, "length"))
            return
        length = len(request.prompt)
        choices = [
            Sequence(request, index, Sampler(request.sampling, index), length)
            for index in range(request.num_choices)
        ]
        for sequence in choices:
            self.decoder.fork_kv(self.scheduler.add(sequence), length)
        self._sample_and_append(choices, logits.expand(len(choices), -1))

    def _decode(self, first: int, end: int) -> None:
        """Decode one token for each of the slots [first, end).

        If the step fails, each slot is retried alone, so that only the requests that caused the
        error fail.
        """
        sequences = self.scheduler.running[first:end]
        try:
            tokens = [sequence.last_token for sequence in sequences]
            logits = self.decoder.decode(first, tokens, [s.length for s in sequences])
            chosen = self._sample(sequences, logits)
        except Exception as error:
            self._retry_one_by_one(first, end, error)
            return
        for sequence in sequences:
            sequence.length += 1
        self._append_tokens(sequences, chosen)

    def _retry_one_by_one(self, first: int, end: int, error: Exception) -> None:
        if end - first == 1:
            self._fail_request(
                self.scheduler.running[first].request, self._log_and_convert_error(error)
            )
            return
        # In reverse order: the last slot, already retried, moves into a freed one.
        for slot in reversed(range(first, end)):
            if slot < len(self.scheduler.running):
                self._decode(slot, slot + 1)

    def _sample_and_append(self, sequences: list[Sequence], logits: Tensor) -> None:
        self._append_tokens(sequences, self._sample(sequences, logits))

    def _sample(
        self, sequences: list[Sequence], logits: Tensor
    ) -> list[tuple[int, Logprobs | None]]:
        return sample(logits[:, : self._vocab_size], [sequence.sampler for sequence in sequences])

    def _append_tokens(
        self, sequences: list[Sequence], chosen: list[tuple[int, Logprobs | None]]
    ) -> None:
        self.stats.generated_tokens += len(sequences)
        for sequence, (token, logprobs) in zip(sequences, chosen, strict=True):
            request = sequence.request
            sequence.last_token, sequence.num_generated = token, sequence.num_generated + 1
            if token in request.stop_ids:
                self._finish(sequence, Finished(sequence.choice, "stop"))
                continue
            request.emit(Token(sequence.choice, token, logprobs))
            if sequence.num_generated >= request.max_new_tokens:
                self._finish(sequence, Finished(sequence.choice, "length"))

    def _finish(self, sequence: Sequence, event: Finished) -> None:
        move = self.scheduler.remove(sequence)
        self._apply_moves([move] if move else [])
        sequence.request.emit(event)

    def _fail_request(self, request: Request, error: ApiError) -> None:
        self.stats.failed_requests += 1
        self.abort(request)
        request.emit(Failed(error))

    @torch.inference_mode()
    def _apply_moves(self, moves: list[SlotMove]) -> None:
        for move in moves:
            self.decoder.move_slot(move.source, move.target, move.length)

    def _log_and_convert_error(self, error: Exception) -> ApiError:
        if isinstance(error, InvalidAdapter):
            return InvalidRequest(str(error), param="model")
        log.error("request.failed", exc_info=error)
        return ApiError()
