"""One base model at work: step by step, all running sequences together.

Knows token ids only. Text, stop strings and HTTP are the server's.
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

# Tokens of a prompt computed between two steps of the running sequences: about 0.1 s of a small
# model on two cores. More would make them stutter, fewer would slow the prompt down.
PREFILL_CHUNK = 256

log = logs.get_logger(__name__)


@dataclass(slots=True)
class Counters:
    """What an engine has done since it was started, and is doing: written by its thread alone."""

    running_requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    failed_requests: int = 0


class Engine:
    """Not safe to share between threads; others may read `counters`."""

    def __init__(self, decoder: Decoder, *, vocab_size: int) -> None:
        self.decoder = decoder
        self.scheduler = Scheduler(decoder.num_slots)
        self.counters = Counters()
        # Models pad their output to a round number; ids beyond the tokenizer's mean nothing.
        self._vocab_size = vocab_size

    def submit(self, request: Request) -> None:
        self.scheduler.waiting.append(request)

    def abort(self, request: Request, choice: int | None = None) -> None:
        """Forget a request, or one choice of it, without another word; fine if it is gone."""
        self._apply_moves(self.scheduler.abort(request, choice))
        self.counters.running_requests = sum(1 for _ in self.scheduler.active_requests())

    @property
    def is_idle(self) -> bool:
        return self.scheduler.is_idle

    def fail_all(self, error: ApiError) -> None:
        """End every request with an error. Touches no tensors: they may be what is broken."""
        for request in self.scheduler.clear():
            request.emit(Failed(error))

    @torch.inference_mode()
    def step(self) -> None:
        """A piece of a prompt, then one more token for every running sequence."""
        prompt = self.scheduler.next_prefill()
        if prompt is not None:
            try:
                self._prefill_chunk(prompt)
            except Exception as error:
                self._fail_request(prompt.request, self._to_api_error(error))
        if self.scheduler.running:
            self._decode(0, len(self.scheduler.running))
        self.counters.running_requests = sum(1 for _ in self.scheduler.active_requests())

    def _prefill_chunk(self, prompt: Prefill) -> None:
        request, start = prompt.request, prompt.num_computed
        if start == 0:
            self.decoder.begin_prefill(request.adapter)
        piece = request.prompt[start : start + PREFILL_CHUNK]
        extended = self.decoder.prefill(
            piece, start, num_logits=len(piece) if request.prompt_logprobs else 1
        )
        prompt.num_computed += len(piece)
        self.counters.prompt_tokens += len(piece)
        if request.prompt_logprobs:
            self._emit_prompt_logprobs(request, start, extended.logits)
        if request.pooling:
            self._pool_hidden_states(prompt, extended.hidden)
        elif prompt.num_computed == len(request.prompt):
            self._start_choices(request, extended.logits[-1:])

    def _emit_prompt_logprobs(self, request: Request, start: int, logits: Tensor) -> None:
        """Tell of the tokens that these logits were to foresee: each is of the one behind it."""
        if start == 0:
            request.emit(PromptLogprobs(((request.prompt[0], None),)))
        ahead = request.prompt[start + 1 : start + 1 + len(logits)]
        top = request.sampling.top_logprobs or 0
        found = token_logprobs(logits[: len(ahead), : self._vocab_size], ahead, top)
        request.emit(PromptLogprobs(tuple(zip(ahead, found, strict=True))))

    def _pool_hidden_states(self, prompt: Prefill, hidden: Tensor) -> None:
        piece = hidden.float().sum(dim=0)
        prompt.hidden_sum = piece if prompt.hidden_sum is None else prompt.hidden_sum + piece
        if prompt.num_computed == len(prompt.request.prompt):
            self.scheduler.finish_prefill()
            prompt.request.emit(
                PooledOutput(tuple((prompt.hidden_sum / prompt.num_computed).tolist()))
            )

    def _start_choices(self, request: Request, logits: Tensor) -> None:
        """Each choice takes its first token from the prompt's logits, and a row if it goes on."""
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
        """One step of the rows from `first` to before `end`.

        If it fails, each row is tried alone, so that only the requests at fault end.
        """
        rows = self.scheduler.running[first:end]
        try:
            logits = self.decoder.decode(
                first, [row.last_token for row in rows], [row.length for row in rows]
            )
            chosen = self._sample(rows, logits)
        except Exception as error:
            self._retry_one_by_one(first, end, error)
            return
        for row in rows:
            row.length += 1
        self._append_tokens(rows, chosen)

    def _retry_one_by_one(self, first: int, end: int, error: Exception) -> None:
        if end - first == 1:
            self._fail_request(self.scheduler.running[first].request, self._to_api_error(error))
            return
        # Backwards: a row that leaves is filled from the end, where rows have had their turn.
        for row in reversed(range(first, end)):
            if row < len(self.scheduler.running):
                self._decode(row, row + 1)

    def _sample_and_append(self, rows: list[Sequence], logits: Tensor) -> None:
        self._append_tokens(rows, self._sample(rows, logits))

    def _sample(self, rows: list[Sequence], logits: Tensor) -> list[tuple[int, Logprobs | None]]:
        return sample(logits[:, : self._vocab_size], [row.sampler for row in rows])

    def _append_tokens(
        self, rows: list[Sequence], chosen: list[tuple[int, Logprobs | None]]
    ) -> None:
        self.counters.generated_tokens += len(rows)
        for row, (token, logprobs) in zip(rows, chosen, strict=True):
            request = row.request
            row.last_token, row.num_generated = token, row.num_generated + 1
            if token in request.stop_ids:
                self._finish(row, Finished(row.choice, "stop"))
                continue
            request.emit(Token(row.choice, token, logprobs))
            if row.num_generated >= request.max_new_tokens:
                self._finish(row, Finished(row.choice, "length"))

    def _finish(self, row: Sequence, last_word: Finished) -> None:
        move = self.scheduler.remove(row)
        self._apply_moves([move] if move else [])
        row.request.emit(last_word)

    def _fail_request(self, request: Request, error: ApiError) -> None:
        self.counters.failed_requests += 1
        self.abort(request)
        request.emit(Failed(error))

    @torch.inference_mode()
    def _apply_moves(self, moves: list[SlotMove]) -> None:
        for move in moves:
            self.decoder.move_slot(move.source, move.target, move.length)

    def _to_api_error(self, error: Exception) -> ApiError:
        if isinstance(error, InvalidAdapter):
            return InvalidRequest(str(error), param="model")
        log.error("request.failed", exc_info=error)
        return ApiError()
