"""Loads the base model of a chat or preference job: whole, in 4 bits, or to be divided.

Kinds of base models exclude each other: weights in 4 bits cannot be divided among processes.
"""

from pathlib import Path

import torch

from app.recipes.chat import SHARDED_QUANTIZATION, BaseQuantization
from worker import modeling
from worker.modeling import choose_dtype
from worker.run_folder import RunSpec
from worker.training.adapted_llama import BaseModel
from worker.training.errors import user_error
from worker.training.memory_check import check_memory
from worker.training.preloading import find_stored_dtype, load_base, load_quantized_base
from worker.training.ranks import Ranks


def wants_quantized_base(spec: RunSpec) -> bool:
    return spec.hyperparameters.get("quantization") == BaseQuantization.NF4


def wants_sharded_base(spec: RunSpec, ranks: Ranks) -> bool:
    return spec.sharded and ranks.count > 1


def load_base_as_wanted(
    spec: RunSpec, model_folder: Path, device: torch.device, ranks: Ranks
) -> BaseModel:
    """Check that the host has enough memory, and load the base model; one to divide, onto the CPU.

    Raises TrainingError.
    """
    is_quantized, is_sharded = wants_quantized_base(spec), wants_sharded_base(spec, ranks)
    if spec.sharded and is_quantized:
        raise user_error("invalid_quantization", SHARDED_QUANTIZATION, "quantization")
    dtype = choose_dtype(device)
    if ranks.is_first:
        stored = find_stored_dtype(model_folder)
        is_converted = stored is None if is_quantized else stored != dtype
        check_memory(
            model_folder,
            dtype,
            device,
            processes=ranks.count,
            # What is converted is whole before it is quantized, or divided among GPUs.
            is_quantized=is_quantized and not is_converted,
            multiplies_int8=spec.int8,
            is_converted=is_converted,
            on_host=is_converted and (is_quantized or is_sharded),
        )
    # No rank takes memory before that.
    ranks.wait()
    if is_sharded:
        # One of transformers' own, which can be divided. The whole of it is on no GPU.
        return modeling.load_base(model_folder, dtype=dtype, device=torch.device("cpu"))
    load = load_quantized_base if is_quantized else load_base
    return load(model_folder, dtype=dtype, device=device)
