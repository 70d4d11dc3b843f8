"""The base model that the fork server has loaded, for the training processes that it forks.

It is the chat model of the latest job, or the catalog's first, unless that is large: encoders load
in a tenth of a second. In any other process there is none, and everything is loaded when it is
asked for.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from app.catalog import CatalogModel
from app.recipes.chat import LoraSettings
from worker import modeling
from worker.encoding.backbone import read_shape
from worker.light_imports import import_models
from worker.model.llama_files import Llama, load_llama
from worker.model.rendering import Renderer, RenderingOptions
from worker.model.rendering.template_tokenizer import TemplateTokenizer
from worker.model_cache import get_cache_folder, is_cached, is_remembered, needs_cache
from worker.model_sources import materialize
from worker.training.adapted_llama import AdaptedLlama, AdaptedModel, BaseModel
from worker.training.folder_state import FolderState, read_state
from worker.training.nf4 import quantize_base

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

# Names of safetensors' dtypes.
DTYPES = {torch.bfloat16: "BF16", torch.float32: "F32"}
CPU = torch.device("cpu")
# Bytes of a model that are read for their checksums, for which jobs wait: for 8 seconds on a CPU
# that computes half a gigabyte of SHA-256 per second. Those of a job have been computed before it.
MAX_HASHED_BYTES = 4 * 10**9
ACCELERATORS = ("nvidia[0-9]*", "dxg", "kfd")


@dataclass(slots=True)
class _Preloaded:
    """A model's tokenizer, and its weights if they can stay the pages of their files.

    `wrapped` are the same weights in PEFT's layers, ready for the adapter of these settings.
    """

    state: FolderState
    tokenizer: PreTrainedTokenizerBase
    tokens: TemplateTokenizer
    base: "BaseModel | None"
    dtype: torch.dtype
    wrapped: "tuple[LoraSettings, PeftModel] | None" = None


_preloaded: _Preloaded | None = None


def preload(entry: Mapping[str, Any], cache: Path, *, is_encoder: bool = False) -> None:
    """Load a model of the catalog for the processes that this one forks, if it is here already.

    For an encoder's job, the modules that it needs are imported. A large model whose checksums are
    not known is left to its jobs, since they take too long. Raises what loading raises.
    """
    global _preloaded
    model = CatalogModel.from_json(dict(entry))
    if needs_cache(model) and (_is_large(model, cache) or not is_cached(model, cache)):
        return
    # Its checksums, which the forked process recalls, are computed for an encoder too.
    folder = materialize(model, cache)
    if is_encoder:
        from worker.training.encoders import builder  # noqa: F401

        if read_shape(folder)[1] != "bert":
            import_models()
        return
    if _find(folder):
        return
    # The last model's memory is free before this one takes any.
    _preloaded = None
    state, tokenizer = read_state(folder), modeling.load_tokenizer(folder)
    base, dtype = None, modeling.choose_dtype(CPU)
    if not has_accelerator() and _is_stored_in(folder, dtype):
        # Large ones of other kinds take longer than the client waits.
        is_large = sum(path.stat().st_size for path in folder.glob("*")) > MAX_HASHED_BYTES
        load = load_llama if is_large else _load
        base = load(folder, dtype=dtype, device=CPU)
    _preloaded = _Preloaded(state, tokenizer, TemplateTokenizer(tokenizer), base, dtype)


def _is_large(model: CatalogModel, cache: Path) -> bool:
    files = get_cache_folder(model, cache).glob("*")
    unknown = (path for path in files if not is_remembered(path))
    return sum(path.stat().st_size for path in unknown) > MAX_HASHED_BYTES


def preload_layers(settings: LoraSettings) -> None:
    """Wrap the layers of the preloaded base for an adapter, if those of the last one differ.

    That takes PEFT a fifth of a second, and most jobs have the same settings.
    """
    if _preloaded is None or _preloaded.base is None or isinstance(_preloaded.base, Llama):
        return
    if _preloaded.wrapped is None or _preloaded.wrapped[0] != settings:
        layers: Any = _copy_layers(_preloaded.base)
        _preloaded.wrapped = settings, _wrap(layers, settings)


def release_base() -> None:
    """Release the preloaded weights in a forked process that needs them no more."""
    if _preloaded is not None:
        _preloaded.base = _preloaded.wrapped = None


def add_adapter(
    base: BaseModel, settings: LoraSettings, *, base_model: str, seed: int
) -> AdaptedModel:
    """Add a new adapter to the model of `load_base`; see `modeling.add_adapter`."""
    if isinstance(base, Llama):
        return AdaptedLlama(base, settings, base_model=base_model, seed=seed)
    wrapped = _preloaded.wrapped if _preloaded and _preloaded.base is base else None
    model = wrapped[1] if wrapped and wrapped[0] == settings else _wrap(base, settings)
    modeling.draw_weights(model, base_model=base_model, seed=seed)
    return model


def _wrap(base: "PreTrainedModel", settings: LoraSettings) -> "PeftModel":
    return modeling.wrap_layers(
        base,
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        target_modules=settings.target_modules,
    )


def _copy_layers(base: BaseModel) -> BaseModel:
    """Copy a model without its weights: its layers are replaced in the model that is given."""
    shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    return copy.deepcopy(base, shared)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    preloaded = _find(folder)
    return modeling.load_tokenizer(folder) if preloaded is None else preloaded.tokenizer


def make_renderer(
    folder: Path, context_length: int, *, eos_ids: Sequence[int], options: RenderingOptions
) -> Renderer:
    """Make the renderer of a job's rows for the base model in `folder`."""
    preloaded = _find(folder)
    return Renderer(
        load_tokenizer(folder),
        context_length,
        eos_ids=eos_ids,
        options=options,
        has_cache=True,
        tokens=None if preloaded is None else preloaded.tokens,
    )


def load_base(folder: Path, *, dtype: torch.dtype, device: torch.device) -> BaseModel:
    """Return the base model in `folder`, frozen and in evaluation mode.

    In a forked process, it is the same model each time: replace the layers of one result only.
    """
    preloaded = _find(folder)
    if preloaded and preloaded.base is not None and (preloaded.dtype, CPU) == (dtype, device):
        return preloaded.base
    return _load(folder, dtype=dtype, device=device)


def _load(folder: Path, *, dtype: torch.dtype, device: torch.device) -> BaseModel:
    llama = load_llama(folder, dtype=dtype, device=device)
    return modeling.load_base(folder, dtype=dtype, device=device) if llama is None else llama


def load_quantized_base(folder: Path, *, dtype: torch.dtype, device: torch.device) -> BaseModel:
    """Load it with 4-bit weights, and the rest in `dtype`. Raises TrainingError.

    The full weights are never on the device: they stay the pages of their files, or are converted
    to `dtype` in the host's memory if these have another one.
    """
    stored = find_stored_dtype(folder) or dtype
    # That of the fork server stays as it is, and so do the layers that it has wrapped.
    base = _copy_layers(load_base(folder, dtype=stored, device=CPU))
    quantize_base(base, device)
    for parameter in filter(torch.is_floating_point, base.parameters()):
        parameter.data = parameter.data.to(device, dtype)
    on_device: BaseModel = base.to(device)  # type: ignore[arg-type]
    return on_device


def _find(folder: Path) -> _Preloaded | None:
    is_same = _preloaded is not None and _preloaded.state == read_state(folder)
    return _preloaded if is_same else None


def find_stored_dtype(folder: Path) -> torch.dtype | None:
    """Find the dtype of all of a model's weights, if it has one that can stay in their files."""
    return next((dtype for dtype in DTYPES if _is_stored_in(folder, dtype)), None)


def _is_stored_in(folder: Path, dtype: torch.dtype) -> bool:
    """True if all weights are stored in `dtype`; others would be copied into memory."""
    files = list(folder.glob("*.safetensors"))
    for path in files:
        with safe_open(path, framework="pt") as tensors:
            dtypes = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}
        if dtypes != {DTYPES.get(dtype)}:
            return False
    return bool(files)


def has_accelerator() -> bool:
    """True if a training process may compute on an accelerator; asking CUDA would initialize it."""
    is_supported = torch.version.cuda is not None or torch.version.hip is not None
    return is_supported and any(any(Path("/dev").glob(name)) for name in ACCELERATORS)
