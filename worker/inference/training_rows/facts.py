"""Facts of a model and of this machine, by which the time and memory of training are estimated."""

import math
import time
from pathlib import Path

import torch

from app.catalog import CatalogModel
from app.wire.training_rows import ModelFacts
from worker.model.weight_counts import count_weights
from worker.model_sources import find_folder
from worker.modeling import choose_device, choose_dtype

# Rows of the products that are measured: about those of a micro-batch.
MEASURED_TOKENS = 512
MEASURED_SECONDS = 0.1


def read_facts(model: CatalogModel, cache: Path) -> ModelFacts:
    """Read a model's shape from its files; the machine is not measured, its rate is 0.

    Raises ModelUnavailable.
    """
    # Not before it is needed: it imports the configs of all models.
    from transformers import AutoConfig

    folder = find_folder(model, cache)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text_config = config.get_text_config()
    counts = count_weights(folder)
    device = choose_device()
    dtype = choose_dtype(device)
    return ModelFacts(
        model_type=str(text_config.model_type),
        hidden_size=int(text_config.hidden_size),
        num_layers=int(text_config.num_hidden_layers),
        num_parameters=counts.total,
        layer_parameters=counts.in_layers,
        matrix_names=list(counts.matrix_names),
        bytes_per_parameter=dtype.itemsize,
        gigaflops=0.0,
    )


def measure_gigaflops(width: int) -> float:
    """Measure products [tokens, width] x [width, 4 width]; the fastest one, since other work of the
    machine only delays them."""
    device = choose_device()
    dtype = choose_dtype(device)
    first = torch.randn(MEASURED_TOKENS, width, dtype=dtype, device=device)
    second = torch.randn(width, 4 * width, dtype=dtype, device=device)
    fastest = math.inf
    began = time.monotonic()
    while time.monotonic() - began < MEASURED_SECONDS:
        started = time.monotonic()
        # Until it is computed, also on a GPU.
        (first @ second)[0, 0].item()
        fastest = min(fastest, time.monotonic() - started)
    return 2 * MEASURED_TOKENS * width * 4 * width / fastest / 1e9
