"""Continuous batching of one base model: each step advances many sequences together.

Works on token ids only. The server handles text, stop strings and HTTP.
"""

import torch
from torch import Tensor

from app import logs
from app.errors import ApiError, InvalidRequest, NotFound
from worker.inference.adapter_format import InvalidAdapter
from worker.inference.adapter_memory import AdapterFiles, DamagedLocalAdapter
from worker.inference.decoder import Decoder
from worker.inference.grammar.grammar import GrammarDeadEnd
from worker.inference.messages import Failed, Finished, Logprobs, Request, Token
from worker.inference.metrics import EngineStats, LatencyMetrics
from worker.inference.prefilling import Prefiller
from worker.inference.sampling import sample
from worker.inference.scheduler import Scheduler
from worker.inference.slots import NO_SLOT, Prefill, Sequence
from worker.inference.speculation import MAX_STEP_ROWS, Draft, PromptLookup

log = logs.get_logger(__name__)


class Engine:
    """The engine of one base model. Not thread-safe, but other threads may read `stats`."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        vocab_size: int,
        model: str = "",
        speculative_decoding: bool = True,
        max_rows: int | None = None,
    ) -> None:
        """`model` is the base model's name in metrics; `max_rows` is for tests."""
        self.decoder = decoder
        self._takes_drafts = speculative_decoding and decoder.takes_drafts
        self.scheduler = Scheduler(decoder, max_rows=max_rows)
        self.stats = EngineStats(kv_capacity_tokens=decoder.num_tokens)
        self._latency = LatencyMetrics(model)
        # Unloaded adapters that sequences still use.
        self._evicting: list[AdapterFiles] = []
        # Models pad their vocabulary to a round size; ids beyond the tokenizer's are invalid.
        self._vocab_size = vocab_size
        self._prefiller = Prefiller(
            decoder,
            self.scheduler,
            self.stats,
            self._latency,
            vocab_size=vocab_size,
            fail=self._fail,
        )

    def submit(self, request: Request) -> None:
        self.scheduler.submit(request)
        self.stats.waiting_requests = self.scheduler.num_waiting

    def abort(self, request: Request, choice: int | None = None) -> None:
        """Drop a request, or one choice of it, without emitting an event.

        No-op if it has finished.
        """
        with torch.inference_mode():
            self.scheduler.abort(request, choice)
        self._update_load()

    def _update_load(self) -> None:
        self.stats.running_requests = sum(1 for _ in self.scheduler.active_requests())
        self.stats.waiting_requests = self.scheduler.num_waiting
        self.stats.kv_tokens = self.scheduler.num_cached_tokens

    @torch.inference_mode()
    def evict(self, adapter: AdapterFiles) -> None:
        """Erase an adapter and what it computed, once the sequences that use it have ended."""
        if not self.decoder.evict(adapter, self.scheduler.used_slots()):
            self._evicting.append(adapter)

    def _retry_evictions(self) -> None:
        used = self.scheduler.used_slots()
        self._evicting = [
            adapter for adapter in self._evicting if not self.decoder.evict(adapter, used)
        ]

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
        """Prefill chunks of prompts, then decode one token for the rows whose turn it is."""
        self._start_choices(self.scheduler.admit())
        step = self.scheduler.plan_step()
        self._prefiller.compute(step.prefills)
        self._start_choices(self.scheduler.admit())
        rows = self.scheduler.running if step.rows is None else step.rows
        self._decode([row for row in rows if row.slot != NO_SLOT])
        if self._evicting:
            self._retry_evictions()
        self._update_load()

    def _start_choices(self, started: list[tuple[Sequence, Prefill]]) -> None:
        """Sample the first token of each started choice from its prompt's logits."""
        by_prompt: dict[Prefill, list[Sequence]] = {}
        for sequence, prefill in started:
            if self._takes_drafts:
                sequence.lookup = PromptLookup(sequence.request.prompt)
            by_prompt.setdefault(prefill, []).append(sequence)
        for prefill, choices in by_prompt.items():
            assert prefill.logits is not None
            if not self._prepare(choices):
                continue
            try:
                chosen = self._sample(choices, prefill.logits.expand(len(choices), -1))
            except Exception as error:
                self._fail(prefill.request, error)
            else:
                self._append_tokens(choices, chosen)

    def _decode(self, sequences: list[Sequence]) -> None:
        """Decode one token for each of the running `sequences`.

        If the step fails, each is retried alone, so that only the requests that caused the error
        fail.
        """
        sequences = self._prepare(sequences)
        if not sequences:
            return
        sequences = sorted(sequences, key=lambda sequence: sequence.slot)
        try:
            drafts = self._draft(sequences)
            logits = self._compute_logits(sequences, drafts)
            rows = logits.split([1 + len(draft) for draft in drafts])
            # Sampling changes them: only those of drafts are still needed.
            firsts = torch.stack([each[0] for each in rows]) if any(drafts) else logits
            chosen = self._sample(sequences, firsts)
        except Exception as error:
            self._retry_one_by_one(sequences, error)
            return
        for sequence in sequences:
            sequence.length += 1
        self._latency.step_decoded(len(sequences))
        self._append_tokens(sequences, chosen)
        for sequence, draft, drafted in zip(sequences, drafts, rows, strict=True):
            self._verify(sequence, draft, drafted[1:])

    def _draft(self, sequences: list[Sequence]) -> list[Draft]:
        """Guess tokens of each sequence, if a step with these costs little more."""
        limit = MAX_STEP_ROWS // len(sequences) - 1
        if limit < 1:
            return [()] * len(sequences)
        return [self._draft_one(sequence, limit) for sequence in sequences]

    def _draft_one(self, sequence: Sequence, limit: int) -> Draft:
        if sequence.lookup is None:
            return ()
        left = sequence.request.max_new_tokens - sequence.num_generated
        return sequence.lookup.propose(min(limit, left - 1))

    def _compute_logits(self, sequences: list[Sequence], drafts: list[Draft]) -> Tensor:
        """Compute the logits [rows, vocabulary]: for each sequence 1 + draft tokens of them."""
        slots: list[int] = []
        tokens: list[int] = []
        positions: list[int] = []
        for sequence, draft in zip(sequences, drafts, strict=True):
            count = 1 + len(draft)
            slots += [sequence.slot] * count
            tokens += [sequence.last_token, *draft]
            positions += range(sequence.length, sequence.length + count)
        return self.decoder.decode(slots, tokens, positions)

    def _verify(self, sequence: Sequence, draft: Draft, logits: Tensor) -> None:
        """Go on after the tokens of a draft, as long as they are those that were sampled."""
        accepted = 0
        for token, row in zip(draft, logits, strict=True):
            # A sequence that has ended has no slot.
            if sequence.slot == NO_SLOT or sequence.last_token != token:
                break
            accepted += 1
            if not self._prepare([sequence]):
                break
            try:
                chosen = self._sample([sequence], row[None])
            except Exception as error:
                self._fail(sequence.request, error)
                break
            sequence.length += 1
            self._append_tokens([sequence], chosen)
        self.stats.draft_tokens += len(draft)
        self.stats.accepted_draft_tokens += accepted
        if sequence.lookup is not None:
            sequence.lookup.count_accepted(accepted, len(draft))

    def _prepare(self, sequences: list[Sequence]) -> list[Sequence]:
        """Prepare the grammars of choices, and return those whose request goes on.

        A choice that no token can continue fails its request here, before it costs others a step.
        """
        for sequence in sequences:
            # A request that failed has lost all of its rows.
            if sequence.slot == NO_SLOT:
                continue
            try:
                sequence.sampler.prepare(self._vocab_size)
            except Exception as error:
                self._fail(sequence.request, error)
        return [sequence for sequence in sequences if sequence.slot != NO_SLOT]

    def _retry_one_by_one(self, sequences: list[Sequence], error: Exception) -> None:
        if len(sequences) == 1:
            self._fail(sequences[0].request, error)
            return
        for sequence in sequences:
            # A request that failed has lost all of its rows.
            if sequence.slot != NO_SLOT:
                self._decode([sequence])

    def _sample(
        self, sequences: list[Sequence], logits: Tensor
    ) -> list[tuple[int, Logprobs | None]]:
        return sample(logits[:, : self._vocab_size], [sequence.sampler for sequence in sequences])

    def _append_tokens(
        self, sequences: list[Sequence], chosen: list[tuple[int, Logprobs | None]]
    ) -> None:
        self.stats.generated_tokens += len(sequences)
        now = self._latency.clock()
        for sequence, (token, logprobs) in zip(sequences, chosen, strict=True):
            request = sequence.request
            self._time_token(sequence, now)
            sequence.last_token, sequence.num_generated = token, sequence.num_generated + 1
            sequence.num_served += 1
            if sequence.lookup is not None:
                sequence.lookup.append(token)
            if token in request.stop_ids:
                self._finish(sequence, Finished(sequence.choice, "stop"))
                continue
            request.emit(Token(sequence.choice, token, logprobs))
            if sequence.sampler.is_complete:
                self._finish(sequence, Finished(sequence.choice, "stop"))
            elif sequence.num_generated >= request.max_new_tokens:
                self._finish(sequence, Finished(sequence.choice, "length"))

    def _time_token(self, sequence: Sequence, now: float) -> None:
        if sequence.num_generated:
            self._latency.next_token(sequence.last_token_at, now)
        elif sequence.choice == 0:
            self._latency.first_token(sequence.request.submitted_at, now)
        sequence.last_token_at = now

    def _finish(self, sequence: Sequence, event: Finished) -> None:
        self.scheduler.remove(sequence)
        sequence.request.emit(event)

    def _fail(self, request: Request, error: Exception) -> None:
        self.stats.failed_requests += 1
        self.abort(request)
        request.emit(Failed(self._log_and_convert_error(error)))

    def _log_and_convert_error(self, error: Exception) -> ApiError:
        if isinstance(error, DamagedLocalAdapter):
            # The API has the engine load an unknown model again, and retries.
            return NotFound("The model's files were damaged and have to be loaded again.")
        if isinstance(error, GrammarDeadEnd):
            return _dead_end_error(error)
        if isinstance(error, InvalidAdapter):
            return InvalidRequest(str(error), param="model")
        log.error("request.failed", exc_info=error)
        return ApiError()


def _dead_end_error(error: GrammarDeadEnd) -> ApiError:
    return InvalidRequest(
        f"The answer cannot be continued in the form that was asked for: {error}. Try again, or "
        "simplify the schema.",
        param="response_format",
    )
