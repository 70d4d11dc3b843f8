"""A base model as it is served: its decoder, engine and tokenization.

Knows no storage: training processes, which may not read it, load models here too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import logs
from app.catalog import DEFAULT_MAX_COMPLETION_TOKENS, CatalogModel, Quantization
from worker.host_memory import return_freed_memory
from worker.inference.decoder import Decoder
from worker.inference.engine import Engine
from worker.inference.fair_executor import FairExecutor
from worker.inference.fingerprint import system_fingerprint
from worker.inference.grammar.compiler import GrammarCompiler
from worker.inference.llama_decoder import LlamaDecoder
from worker.inference.native.build import get_kernels_folder
from worker.inference.native.library import load_kernels
from worker.inference.transformers_decoder import TransformersDecoder
from worker.inference.vocabulary import Vocabulary
from worker.model.generation_config import (
    NO_GENERATION_CONFIG,
    GenerationConfig,
    read_generation_config,
)
from worker.model.llama import unsupported_reason
from worker.model.llama_files import load_llama
from worker.model.rendering import Renderer
from worker.model_cache import ModelUnavailable
from worker.model_sources import find_folder, materialize
from worker.modeling import (
    choose_device,
    choose_dtype,
    load_base,
    load_tokenizer,
)

# More threads would only compete for the interpreter's lock; the second one tokenizes, which does
# not need it, while the first renders.
RENDERING_THREADS = 2

SAMPLING_DEFAULTS = ("temperature", "top_p", "top_k", "repetition_penalty")

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRendering:
    """A base model's renderer, and threads in which it renders in turn for each project."""

    renderer: Renderer
    executor: FairExecutor


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model in memory, with its tokenization."""

    engine: Engine
    renderer: Renderer
    vocabulary: Vocabulary
    # Renders and tokenizes prompts, in turn for each project.
    rendering: FairExecutor
    # For structured outputs; compiled in the threads of `rendering`.
    grammars: GrammarCompiler
    # Values for requests that name none.
    sampling_defaults: GenerationConfig = NO_GENERATION_CONFIG
    # Of an answer to a chat that names no limit.
    default_max_tokens: int = DEFAULT_MAX_COMPLETION_TOKENS
    system_fingerprint: str = ""


def load_rendering(model: CatalogModel, cache: Path) -> ModelRendering:
    """Load the tokenizer of a model that is on this machine. Raises ModelUnavailable."""
    return ModelRendering(
        make_renderer(model, find_folder(model, cache)), FairExecutor(1, "rendering")
    )


def make_renderer(model: CatalogModel, folder: Path) -> Renderer:
    eos_ids = read_generation_config(folder).eos_ids
    return Renderer(load_tokenizer(folder), model.context_length, eos_ids=eos_ids)


def _describe(generation: GenerationConfig) -> dict[str, float]:
    """Make the sampling defaults that a model has, for the log."""
    values = {name: getattr(generation, name) for name in SAMPLING_DEFAULTS}
    return {name: value for name, value in values.items() if value is not None}


def load_model(
    model: CatalogModel,
    cache: Path,
    *,
    native_kernels: bool = True,
    speculative_decoding: bool = True,
) -> LoadedModel:
    """Load a base model, converting its files first if needed. Raises ModelUnavailable.

    Without `native_kernels`, torch computes all of it, as on GPUs.
    """
    folder = materialize(model, cache)
    device = choose_device()
    dtype = choose_dtype(device)
    base: Any = load_llama(folder, dtype=dtype, device=device)
    if base is None:
        base = load_base(folder, dtype=dtype, device=device)
    tokenizer = load_tokenizer(folder)
    vocabulary = Vocabulary(tokenizer)
    reason = unsupported_reason(base, model.context_length)
    generation = read_generation_config(folder)
    decoder: Decoder
    kernels = None
    is_int8 = model.quantization == Quantization.INT8
    if reason is None:
        if native_kernels and device.type == "cpu":
            kernels = load_kernels(get_kernels_folder(cache), dtype)
        decoder = LlamaDecoder(
            base, context_length=model.context_length, kernels=kernels, is_int8=is_int8
        )
    elif is_int8:
        raise ModelUnavailable(
            f"The model {model.id} has quantization = 'int8', which the engine does not support "
            f"for {reason}. Remove it from the catalog."
        )
    else:
        decoder = TransformersDecoder(base, context_length=model.context_length)
    # A decoder has copied what it needs, or keeps the model.
    del base
    return_freed_memory()
    log.info(
        "model.loaded",
        model=model.id,
        device=str(device),
        slots=decoder.num_slots,
        native=kernels is not None,
        quantization=model.quantization,
        unsupported=reason,
        generation=_describe(generation),
    )
    if generation.ignored:
        names = ", ".join(generation.ignored)
        log.warning("model.generation_config_ignored", model=model.id, values=names)
    renderer = Renderer(tokenizer, model.context_length, eos_ids=generation.eos_ids)
    return LoadedModel(
        engine=Engine(
            decoder,
            vocab_size=vocabulary.size,
            model=model.id,
            speculative_decoding=speculative_decoding,
        ),
        renderer=renderer,
        vocabulary=vocabulary,
        rendering=FairExecutor(RENDERING_THREADS, "rendering"),
        grammars=GrammarCompiler(vocabulary, renderer.stop_ids),
        sampling_defaults=generation,
        default_max_tokens=model.max_completion_tokens,
        system_fingerprint=system_fingerprint(
            model.source, device.type, dtype, model.quantization, kernels is not None
        ),
    )
