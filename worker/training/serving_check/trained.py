"""Log-probabilities of the training code, in float32, with the weights that it trained.

In the dtype of training its own rounding, which no client sees, would hide faults of the engine: of
an adapter after two of Adam's steps, whose weights all have the size of the rate, it moved
log-probabilities by 0.5.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.logs import get_logger
from worker.host_memory import HostMemory
from worker.model.rendering import Renderer
from worker.run_folder import RunFolder
from worker.training.batching import Row
from worker.training.errors import is_out_of_memory
from worker.training.forward import CausalLM, collate_for
from worker.training.packing import PackedObjective
from worker.training.serving_check.full_weights import (
    FullWeights,
    describe_missing,
    describe_quantization,
)
from worker.training.serving_check.rows import MAX_EXAMPLES, CheckRow, select_rows
from worker.training.serving_check.stored import StoredAdapter, find_answers

Logprobs = NDArray[np.float32]

LOST_BEFORE = (
    "an earlier attempt was lost in this comparison, which may take more memory than is free"
)
TOO_LITTLE_MEMORY = "the trainer's memory is too small for it"
NO_ROWS = (
    f"no answer of the first {MAX_EXAMPLES} examples fits into a row as a whole, after the prompt "
    "that a client would send for it"
)
# The share by which the adapter's effect is enlarged, to see what that does to each token.
PROBED_SCALING = 0.1

log = get_logger(__name__)


class ChatObjective(Protocol):
    """The part of a chat method's objective that computes answers."""

    model: CausalLM
    device: torch.device

    def split(self, rows: Any, /) -> Iterable[Sequence[Any]]: ...


@dataclass(frozen=True, slots=True)
class TrainedRows:
    """Rows with the log-probabilities of their answers' tokens, as training computes them.

    scaled        the same with an effect of the adapter that is PROBED_SCALING larger; empty if
                  they are not needed
    not_measured  the reason why there are no rows
    stored        what the comparison, if it agrees, says of the adapters of later jobs
    """

    file: str = ""
    rows: Sequence[CheckRow] = ()
    logprobs: Sequence[Logprobs] = ()
    scaled: Sequence[Logprobs] = ()
    not_measured: str = ""
    stored: StoredAdapter | None = None


def measure_rows(
    folder: RunFolder,
    renderer: Renderer,
    objective: Any,
    parameters: Sequence[nn.Parameter],
    *,
    with_scaled: bool,
    full: FullWeights | None = None,
) -> TrainedRows:
    """Select rows of the validation file, or else of the training file, and measure them.

    `objective` is one of a chat method, packed or not. Its model and `parameters`, the adapter's,
    are of no use afterwards: they are converted, and enlarged if `with_scaled`. A model that was
    trained on quantized weights is measured with the `full` ones, which it is served with.
    """
    if not folder.read_spec().compare_with_engine:
        return TrainedRows(not_measured=LOST_BEFORE)
    file = find_answers(folder)
    rows = select_rows(file, renderer)
    if not rows:
        return TrainedRows(not_measured=NO_ROWS)
    chat: Any = objective.objective if isinstance(objective, PackedObjective) else objective
    if not _fits_into_memory(chat, full):
        return _leave_out(folder, full)
    try:
        rounded = [] if full is None else compute_logprobs(rows, chat)
        if full is not None:
            chat.model = full.restore()
        chat.model.use_float32()
        logprobs = compute_logprobs(rows, chat)
        scaled = _compute_scaled_logprobs(rows, chat, parameters) if with_scaled else []
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("serving_check.out_of_memory", exc_info=error)
        return _leave_out(folder, full)
    name = "validation file" if file == folder.valid_file else "training file"
    if rounded:
        folder.append_event(describe_quantization(rounded, logprobs, name))
    return TrainedRows(name, rows, logprobs, scaled)


def _leave_out(folder: RunFolder, full: FullWeights | None) -> TrainedRows:
    if full is not None:
        folder.append_event(describe_missing(TOO_LITTLE_MEMORY))
    return TrainedRows(not_measured=TOO_LITTLE_MEMORY)


def _fits_into_memory(objective: ChatObjective, full: FullWeights | None) -> bool:
    """Check the host's memory, whose lack the kernel answers by killing the process."""
    available = HostMemory().available_bytes()
    if objective.device.type != "cpu" or available is None:
        return True
    restored = 0 if full is None else full.count_bytes()
    return restored + objective.model.count_float32_bytes() <= available


@torch.no_grad()
def compute_logprobs(rows: Sequence[CheckRow], objective: ChatObjective) -> list[Logprobs]:
    """Compute log-probabilities in the micro-batches of a training step, within its limits."""
    items = [Row(row.ids, np.arange(row.start, len(row.ids), dtype=np.int32)) for row in rows]
    model, device = objective.model, objective.device
    computed: dict[Row, Logprobs] = {}
    for part in objective.split(items):
        batch = collate_for(model, part, device)
        token_nll, _ = model.token_nll(batch)
        by_row = token_nll.cpu().split([len(item.label_positions) for item in part])
        computed |= {item: -nll.numpy() for item, nll in zip(part, by_row, strict=True)}
    return [computed[item] for item in items]


@torch.no_grad()
def _compute_scaled_logprobs(
    rows: Sequence[CheckRow], objective: ChatObjective, parameters: Sequence[nn.Parameter]
) -> list[Logprobs]:
    """Compute them with a larger effect: it is a product of two matrices."""
    for parameter in parameters:
        parameter.mul_(math.sqrt(1 + PROBED_SCALING))
    return compute_logprobs(rows, objective)
