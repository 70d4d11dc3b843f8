"""Base models beyond one GPU: each rank keeps a share of the frozen weights (FSDP2).

A layer's weights are gathered from all ranks for its forward and for its backward pass, and freed
after each. The adapter is whole in every rank. Gathering needs all ranks: those with fewer rows,
or none, take part in the passes of the others by a single token whose loss is multiplied by zero.

Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel",
arXiv:2304.11277.
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from app.logs import get_logger
from worker.modeling import adapter_parameters
from worker.training.adapted_llama import AdaptedModel
from worker.training.batching import MicroBatch
from worker.training.forward import TransformersCausalLM
from worker.training.ranks import Pass, Ranks
from worker.training.recomputation import list_layers

log = get_logger(__name__)


def shard_base(model: AdaptedModel, ranks: Ranks, device: torch.device) -> None:
    """Leave a share of the base model, which may be on the CPU, on this rank's device."""
    base: Any = model.get_base_model()
    adapter = set(adapter_parameters(model).values())
    for parameter in adapter:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (ranks.count,))
    for module in (*list_layers(base), base):
        fully_shard(module, mesh=mesh, ignored_params=adapter)
    frozen = [parameter for parameter in base.parameters() if parameter not in adapter]
    own = sum(p.to_local().nbytes for p in frozen if isinstance(p, DTensor))
    log.info("training.sharded", own_bytes=own, of_bytes=sum(p.nbytes for p in frozen))


class ShardedCausalLM(TransformersCausalLM):
    """A model whose base `shard_base` has divided among the ranks, which do each pass together."""

    def __init__(self, model: AdaptedModel, ranks: Ranks, **options: Any) -> None:
        super().__init__(model, **options)
        # Called itself: PEFT would call its `forward`, without the hooks that gather weights.
        self._model: Any = model.get_base_model()
        self._ranks = ranks
        ranks.take_part = self._take_part

    def token_nll(
        self, batch: MicroBatch, *, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        self._ranks.begin(Pass.BACKWARD if torch.is_grad_enabled() else Pass.FORWARD)
        own = len(batch.pad_indices)
        most = self._ranks.max(own)
        losses, correct = super().token_nll(batch, label_smoothing=label_smoothing)
        return losses + self._compute_nothing(most - own), correct

    def _take_part(self, kind: Pass) -> None:
        """Do a pass of other ranks without rows."""
        with torch.set_grad_enabled(kind is Pass.BACKWARD):
            nothing = self._compute_nothing(self._ranks.max(0))
            if kind is Pass.BACKWARD:
                nothing.backward()

    def _compute_nothing(self, times: int) -> Tensor:
        """Compute zero by so many passes through the model."""
        device = self._model.device
        nothing = torch.zeros((), device=device)
        for _ in range(times):
            ids = torch.zeros(1, 1, dtype=torch.int64, device=device)
            nothing = nothing + 0 * self._model(input_ids=ids, use_cache=False).logits.float().sum()
        return nothing
