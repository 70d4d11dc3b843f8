"""One base model at work: step by step, all running sequences together.

Knows token ids only. Text, stop strings and HTTP are the server's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from app import logs
from app.errors import ApiError, InvalidRequest
from worker.inference.adapter_format import AdapterRefused
from worker.inference.decoder import Decoder
from worker.inference.messages import Failed, Finished, Logprobs, Pooled, Request, Scored, Token
from worker.inference.sampling import Sampler, sample, score
from worker.inference.scheduler import Move, Prompt, Scheduler, Sequence

# Tokens of a prompt computed between two steps of the running sequences: about 0.1 s of a small
# model on two cores. More would make them stutter, fewer would slow the prompt down.
PIECE = 256

log = logs.get(__name__)


@dataclass(slots=True)
class Counters:
    """What an engine has done since it was started, and is doing: written by its thread alone."""

    running_requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    failed_requests: int = 0


class Engine:
    """Not safe to share between threads; others may read `counters`."""

    def __init__(self, decoder: Decoder, *, vocabulary: int) -> None:
        self.decoder = decoder
        self.scheduler = Scheduler(decoder.rows)
        self.counters = Counters()
        # Models pad their output to a round number; ids beyond the tokenizer's mean nothing.
        self._vocabulary = vocabulary

    def submit(self, request: Request) -> None:
        self.scheduler.waiting.append(request)

    def abort(self, request: Request, choice: int | None = None) -> None:
        """Forget a request, or one choice of it, without another word; fine if it is gone."""
        self._apply(self.scheduler.drop(request, choice))
        self.counters.running_requests = sum(1 for _ in self.scheduler.active())

    @property
    def idle(self) -> bool:
        return self.scheduler.idle

    def fail_all(self, error: ApiError) -> None:
        """End every request with an error. Touches no tensors: they may be what is broken."""
        for request in self.scheduler.clear():
            request.emit(Failed(error))

    @torch.inference_mode()
    def step(self) -> None:
        """A piece of a prompt, then one more token for every running sequence."""
        prompt = self.scheduler.next_prompt()
        if prompt is not None:
            try:
                self._advance(prompt)
            except Exception as error:
                self._fail(prompt.request, self._explained(error))
        if self.scheduler.running:
            self._decode(0, len(self.scheduler.running))
        self.counters.running_requests = sum(1 for _ in self.scheduler.active())

    def _advance(self, prompt: Prompt) -> None:
        request, start = prompt.request, prompt.done
        if start == 0:
            self.decoder.stage(request.adapter)
        piece = request.prompt[start : start + PIECE]
        extended = self.decoder.extend(piece, start, keep=len(piece) if request.scored else 1)
        prompt.done += len(piece)
        self.counters.prompt_tokens += len(piece)
        if request.scored:
            self._score(request, start, extended.logits)
        if request.pooled:
            self._pool(prompt, extended.hidden)
        elif prompt.done == len(request.prompt):
            self._start(request, extended.logits[-1:])

    def _score(self, request: Request, start: int, logits: Tensor) -> None:
        """Tell of the tokens that these logits were to foresee: each is of the one behind it."""
        if start == 0:
            request.emit(Scored(((request.prompt[0], None),)))
        ahead = request.prompt[start + 1 : start + 1 + len(logits)]
        top = request.sampling.top_logprobs or 0
        found = score(logits[: len(ahead), : self._vocabulary], ahead, top)
        request.emit(Scored(tuple(zip(ahead, found, strict=True))))

    def _pool(self, prompt: Prompt, hidden: Tensor) -> None:
        piece = hidden.float().sum(dim=0)
        prompt.total = piece if prompt.total is None else prompt.total + piece
        if prompt.done == len(prompt.request.prompt):
            self.scheduler.unstage()
            prompt.request.emit(Pooled(tuple((prompt.total / prompt.done).tolist())))

    def _start(self, request: Request, logits: Tensor) -> None:
        """Each choice takes its first token from the prompt's logits, and a row if it goes on."""
        self.scheduler.unstage()
        if request.max_new_tokens == 0:
            for choice in range(request.choices):
                request.emit(Finished(choice, "length"))
            return
        length = len(request.prompt)
        choices = [
            Sequence(request, index, Sampler(request.sampling, index), length)
            for index in range(request.choices)
        ]
        for sequence in choices:
            self.decoder.adopt(self.scheduler.join(sequence), length)
        self._choose(choices, logits.expand(len(choices), -1))

    def _decode(self, first: int, end: int) -> None:
        """One step of the rows from `first` to before `end`.

        If it fails, each row is tried alone, so that only the requests at fault end.
        """
        rows = self.scheduler.running[first:end]
        try:
            logits = self.decoder.decode(
                first, [row.last for row in rows], [row.length for row in rows]
            )
            chosen = self._sample(rows, logits)
        except Exception as error:
            self._recover(first, end, error)
            return
        for row in rows:
            row.length += 1
        self._take(rows, chosen)

    def _recover(self, first: int, end: int, error: Exception) -> None:
        if end - first == 1:
            self._fail(self.scheduler.running[first].request, self._explained(error))
            return
        # Backwards: a row that leaves is filled from the end, where rows have had their turn.
        for row in reversed(range(first, end)):
            if row < len(self.scheduler.running):
                self._decode(row, row + 1)

    def _choose(self, rows: list[Sequence], logits: Tensor) -> None:
        self._take(rows, self._sample(rows, logits))

    def _sample(self, rows: list[Sequence], logits: Tensor) -> list[tuple[int, Logprobs | None]]:
        return sample(logits[:, : self._vocabulary], [row.sampler for row in rows])

    def _take(self, rows: list[Sequence], chosen: list[tuple[int, Logprobs | None]]) -> None:
        self.counters.generated_tokens += len(rows)
        for row, (token, logprobs) in zip(rows, chosen, strict=True):
            request = row.request
            row.last, row.generated = token, row.generated + 1
            if token in request.stop_ids:
                self._finish(row, Finished(row.choice, "stop"))
                continue
            request.emit(Token(row.choice, token, logprobs))
            if row.generated >= request.max_new_tokens:
                self._finish(row, Finished(row.choice, "length"))

    def _finish(self, row: Sequence, last_word: Finished) -> None:
        move = self.scheduler.leave(row)
        self._apply([move] if move else [])
        row.request.emit(last_word)

    def _fail(self, request: Request, error: ApiError) -> None:
        self.counters.failed_requests += 1
        self.abort(request)
        request.emit(Failed(error))

    @torch.inference_mode()
    def _apply(self, moves: list[Move]) -> None:
        for move in moves:
            self.decoder.move(move.source, move.target, move.length)

    def _explained(self, error: Exception) -> ApiError:
        if isinstance(error, AdapterRefused):
            return InvalidRequest(str(error), param="model")
        log.error("request.failed", exc_info=error)
        return ApiError()
