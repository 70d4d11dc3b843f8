"""Any causal model of transformers, one sequence after the other: slow, but it always works."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from worker.inference.adapter_cache import AdapterFiles, AdapterMemory
from worker.inference.adapter_format import linear_sizes, read_pairs
from worker.inference.decoder import Extended
from worker.inference.lora import LoraWeights

# Each row costs a pass of its own; more of them would only share the same speed.
ROWS = 4


@dataclass(slots=True)
class _Row:
    """transformers' own cache of one sequence, its adapter, and what came of its last token."""

    past: Any = None
    owner: LoraWeights | None = None
    length: int = 0
    logits: Tensor | None = None


class GenericDecoder:
    """A `Decoder` for architectures that `LlamaDecoder` does not know."""

    def __init__(self, model: PreTrainedModel, *, context_length: int) -> None:
        self.rows = ROWS
        self.context_length = context_length
        self._model = model
        self._adapters = AdapterMemory(self._load)
        self._stage = _Row()
        self._rows = [_Row() for _ in range(ROWS)]
        self._active: LoraWeights | None = None
        self._sizes = linear_sizes(model)
        for path in self._sizes:
            model.get_submodule(path).register_forward_hook(partial(self._add_adapter, path))

    def check(self, files: AdapterFiles) -> None:
        self._load(files)

    def stage(self, adapter: AdapterFiles | None) -> None:
        self._stage = _Row(owner=self._adapters.get(adapter) if adapter else None)

    def extend(self, ids: Sequence[int], start: int, *, keep: int = 1) -> Extended:
        output = self._run(self._stage, ids, keep=keep, output_hidden_states=True)
        return Extended(
            output.hidden_states[-1][0], output.logits[0, len(output.logits[0]) - keep :]
        )

    def adopt(self, row: int, length: int) -> None:
        self._rows[row] = copy.copy(self._stage)
        self._rows[row].past = copy.deepcopy(self._stage.past)

    def move(self, source: int, target: int, length: int) -> None:
        self._rows[target], self._rows[source] = self._rows[source], _Row()

    def decode(self, first: int, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        steps = zip(self._rows[first:], tokens, positions, strict=False)
        return torch.cat([self._step(row, token, position) for row, token, position in steps])

    def _step(self, row: _Row, token: int, position: int) -> Tensor:
        # A step that failed at another row is tried again; this row's cache must not grow twice.
        if row.length > position and row.logits is not None:
            return row.logits
        row.logits = self._run(row, [token], keep=1).logits[:, -1]
        return row.logits

    def _run(self, row: _Row, ids: Sequence[int], *, keep: int, **options: Any) -> Any:
        """transformers' output for the tokens that follow on what `row` holds."""
        self._active = row.owner
        output = self._model(
            torch.tensor([ids], device=self._model.device),
            past_key_values=row.past,
            use_cache=True,
            # 0 would mean all of them.
            logits_to_keep=max(keep, 1),
            **options,
        )
        row.past = output.past_key_values
        row.length += len(ids)
        return output

    def _add_adapter(
        self, path: str, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        pair = self._active.pairs.get(path) if self._active else None
        if pair is None:
            return output
        return output + linear(inputs[0], pair.a) @ pair.b

    def _load(self, files: AdapterFiles) -> LoraWeights:
        pairs = read_pairs(files.folder, self._sizes)
        like = next(self._model.parameters())
        return LoraWeights({path: pair.to(like) for path, pair in pairs.items()})
