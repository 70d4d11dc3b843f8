"""Log-probabilities of the engine's code: prompts in chunks, the ends of answers token by token."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from worker.inference.adapter_memory import AdapterFiles
from worker.inference.decoder import Decoder, PromptChunk
from worker.inference.project_queue import PREFILL_CHUNK_TOKENS
from worker.training.serving_check.rows import CheckRow
from worker.training.serving_check.trained import Logprobs

# Tokens of an answer that are fed one by one, as they are when an answer is generated.
MAX_DECODED_TOKENS = 8


@dataclass(slots=True)
class _Sequence:
    """A row in a slot; without `adapter` it belongs to the base model."""

    ids: list[int]
    start: int
    adapter: AdapterFiles | None
    logprobs: list[float] = field(default_factory=list)

    @property
    def num_prefilled(self) -> int:
        """Tokens fed in chunks: the prompt, and the answer but for its end."""
        return max(self.start, len(self.ids) - 1 - MAX_DECODED_TOKENS)

    def add(self, logits: Tensor, end: int) -> None:
        """Add the tokens up to `end` whose `logits` [tokens, vocabulary] were computed."""
        targets = torch.tensor(self.ids[end - len(logits) : end], device=logits.device)
        logprobs = logits.float().log_softmax(dim=-1)
        self.logprobs += logprobs.gather(1, targets[:, None])[:, 0].tolist()


@torch.inference_mode()
def compute_served_logprobs(
    decoder: Decoder, adapter: AdapterFiles, rows: Sequence[CheckRow]
) -> list[Logprobs]:
    """Compute the log-probabilities of the answers' tokens, with the adapter's files.

    A sequence of the base model runs beside them, as another client's does, if there is a slot for
    it. Raises InvalidAdapter, DamagedLocalAdapter and OSError.
    """
    tuned = [_Sequence(row.ids.tolist(), row.start, adapter) for row in rows]
    base = _Sequence(rows[0].ids.tolist(), rows[0].start, None)
    mixed = [tuned[0], base, *tuned[1:]]
    for start in range(0, len(mixed), decoder.num_slots):
        group = mixed[start : start + decoder.num_slots]
        _run(decoder, group)
        for slot in range(len(group)):
            decoder.release_slot(slot)
    return [np.array(sequence.logprobs, dtype=np.float32) for sequence in tuned]


def _run(decoder: Decoder, sequences: Sequence[_Sequence]) -> None:
    """Feed sequences to the slots from 0 on: prompts one after the other, then all together."""
    for slot, sequence in enumerate(sequences):
        decoder.begin_prefill(slot, sequence.adapter)
        _prefill(decoder, slot, sequence)
    for step in range(MAX_DECODED_TOKENS):
        positions = {
            slot: position
            for slot, sequence in enumerate(sequences)
            if (position := sequence.num_prefilled + step) < len(sequence.ids) - 1
        }
        if not positions:
            return
        tokens = [sequences[slot].ids[position] for slot, position in positions.items()]
        logits = decoder.decode(list(positions), tokens, list(positions.values()))
        for row, (slot, position) in zip(logits, positions.items(), strict=True):
            sequences[slot].add(row[None], position + 2)


def _prefill(decoder: Decoder, slot: int, sequence: _Sequence) -> None:
    for begin in range(0, sequence.num_prefilled, PREFILL_CHUNK_TOKENS):
        end = min(begin + PREFILL_CHUNK_TOKENS, sequence.num_prefilled)
        # The token before the answer is the first whose logits count.
        num_logits = max(0, end - max(begin, sequence.start - 1))
        chunk = PromptChunk(slot, sequence.ids[begin:end], begin, num_logits)
        (output,) = decoder.prefill([chunk])
        if num_logits:
            sequence.add(output.logits, end + 1)
