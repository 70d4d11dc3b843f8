"""Our training step compared with that of transformers and PEFT in one process, for `bench.gpu`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch.nn.utils import clip_grad_norm_

from app.recipes.chat import ADAM_BETAS, MAX_GRAD_NORM
from worker.modeling import adapter_parameters, choose_device
from worker.training.batching import Row
from worker.training.forward import choose_causal_lm
from worker.training.objective_building import MAX_TOKENS
from worker.training.objectives.supervised import SupervisedObjective
from worker.training.ranks import ALONE, Ranks

Step = Callable[[Sequence[Row]], None]


@dataclass(frozen=True, slots=True)
class Arm:
    """A training implementation: its backward pass of one batch, parameters and optimizer."""

    name: str
    backward: Step
    parameters: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer

    def step(self, rows: Sequence[Row]) -> None:
        self.backward(rows)
        clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()


def make_arm(name: str, model: PeftModel, backward: Step) -> Arm:
    parameters = list(adapter_parameters(model).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=1e-4, betas=ADAM_BETAS, weight_decay=0.0, fused=True
    )
    return Arm(name, backward, parameters, optimizer)


def make_luthier_arm(model: PeftModel, ranks: Ranks = ALONE) -> Arm:
    """Make our arm; as one of several `ranks`, it computes its share of a batch."""
    device = choose_device()
    objective = SupervisedObjective(
        choose_causal_lm(model), device, max_tokens=MAX_TOKENS[device.type], max_rows=None
    )

    def backward(rows: Sequence[Row]) -> None:
        total = objective.num_items(rows)
        for part in objective.split(ranks.select(rows, objective.num_tokens)):
            (objective.compute_loss(part).loss / total).backward()
        ranks.add_gradients(list(adapter_parameters(model).values()))

    return make_arm("luthier", model, backward)


def make_padded_arm(name: str, model: PeftModel, *, autocast: bool) -> Arm:
    device = choose_device()

    def backward(rows: Sequence[Row]) -> None:
        width = max(len(row.ids) for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.from_numpy(row.ids)
            mask[index, : len(row.ids)] = 1
            labels[index, row.label_positions] = ids[index, row.label_positions]
        inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = model(**{key: value.to(device) for key, value in inputs.items()}).loss
        loss.backward()

    return make_arm(name, model, backward)
