"""Check of a job's stored adapter that needs no base model, and the adapters compared before.

What an engine computes of an adapter depends on its code, the base model and the adapter's shape,
all of which `StoredAdapter.kind` is a digest of, and on the adapter's numbers. So an adapter need
not be compared by its log-probabilities if one of its kind was, which was about as strong: only its
files, and the prompts of the job's rows, are compared with training's.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from app.catalog import CatalogModel
from app.manifests import file_sha256
from worker import inference, model, modeling, training
from worker.inference.adapter_format import (
    PEFT_PREFIX,
    InvalidAdapter,
    check_config,
    read_lora,
    read_rendering_options,
)
from worker.inference.native.build import get_kernels_folder
from worker.model.rendering import Renderer, RenderingError
from worker.model_sources import find_folder
from worker.modeling import ADAPTER_CONFIG_FILE, choose_device, choose_dtype
from worker.run_folder import RunFolder, RunSpec
from worker.training.adapted_llama import AdaptedModel
from worker.training.folder_state import read_state
from worker.training.lora import find_adapter
from worker.training.rendered_rows import list_code
from worker.training.serving_check.errors import served_differently
from worker.training.serving_check.rows import CheckRow, select_rows

# These packages decide what training and the engine compute of an adapter.
CODE = (inference, model, training)
LIBRARIES = ("numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")
# An adapter may be stronger than the compared one by this factor: rounding grows with it in
# proportion, and is usually a tenth of what is tolerated.
MAX_STRENGTH_RATIO = 1.25


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """A stored adapter, by what the engine's difference from training depends on.

    kind      digest of all but its numbers
    strength  largest Frobenius norm of its change of a layer's weight
    """

    kind: str
    strength: float

    def is_covered(self, compared: dict[str, float]) -> bool:
        """True if the strongest one of its kind that was compared was about as strong."""
        return self.strength <= MAX_STRENGTH_RATIO * compared.get(self.kind, -1.0)


def check_stored(folder: RunFolder, model: AdaptedModel, renderer: Renderer) -> StoredAdapter:
    """Compare the latest checkpoint, as engines read it, with the model, and the job's prompts.

    Raises TrainingError if a matrix of the adapter is another one, or a prompt is rendered as
    another one.
    """
    stored = folder.checkpoint(folder.list_checkpoint_steps()[0])
    with _one_thread():
        strength = _compare_matrices(stored, model)
    as_served = renderer.with_options(read_rendering_options(stored))
    for row in select_rows(find_answers(folder), renderer):
        require_same_prompt(row, as_served)
    return StoredAdapter(_digest_kind(folder.read_spec(), stored), strength)


def find_answers(folder: RunFolder) -> Path:
    """Find the file whose answers are compared."""
    return folder.valid_file if folder.valid_file.exists() else folder.train_file


def require_same_prompt(row: CheckRow, renderer: Renderer) -> None:
    """Raise TrainingError unless the engine renders a row's prompt as training did."""
    trained = row.ids[: row.start].tolist()
    try:
        served = row.render_prompt(renderer)
    except RenderingError as error:
        reason = f"the engine cannot render the prompt of example {row.number}. {error}"
        raise served_differently(reason.removesuffix(".")) from error
    if served == trained:
        return
    pairs = enumerate(zip(served, trained, strict=False))
    first = next(
        (place for place, (ours, theirs) in pairs if ours != theirs),
        min(len(served), len(trained)),
    )
    raise served_differently(
        f"the prompt of example {row.number} has {len(served)} tokens by the engine and "
        f"{len(trained)} in training, and token {first + 1} is the first that differs"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: of hundreds of small products each would wait for the others'."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _compare_matrices(stored: Path, model: AdaptedModel) -> float:
    """Compare the matrices that an engine reads with the model's; return the adapter's strength."""
    adapters = {
        name.removeprefix(PEFT_PREFIX): adapter
        for name, module in model.named_modules()
        if (adapter := find_adapter(module))
    }
    sizes = {path: (each.a.shape[1], each.b.shape[0]) for path, each in adapters.items()}
    try:
        check_config(stored)
        pairs = read_lora(stored, sizes)
    except InvalidAdapter as error:
        raise served_differently(f"the engine refuses it. {error}".removesuffix(".")) from error
    strength = 0.0
    for path, adapter in adapters.items():
        a = adapter.a.float().cpu()
        b = adapter.b.float().cpu().T * adapter.scaling
        pair = pairs.get(path)
        if pair is None or not (torch.equal(pair.a, a) and torch.equal(pair.b, b)):
            raise served_differently(f"the stored adapter of {path} is not the trained one")
        strength = max(strength, _compute_norm(a, b))
    return strength


def _compute_norm(a: Tensor, b: Tensor) -> float:
    """Compute the Frobenius norm of Aᵀ·B [in, out] of its factors [rank, in] and [rank, out]."""
    return math.sqrt(max(0.0, float(((a @ a.T) * (b @ b.T)).sum())))


def _digest_kind(spec: RunSpec, stored: Path) -> str:
    cache = Path(spec.model_cache)
    kernels = get_kernels_folder(cache)
    parts = [
        spec.model,
        read_state(find_folder(CatalogModel.from_json(spec.model), cache)),
        str(choose_dtype(choose_device())),
        torch.backends.cpu.get_cpu_capability(),
        spec.native_kernels,
        # Named by what they were compiled from; none without a compiler.
        sorted(path.name for path in kernels.glob("*.so")),
        {name: version(name) for name in LIBRARIES},
        json.loads((stored / ADAPTER_CONFIG_FILE).read_bytes()),
    ]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for path in (*list_code(CODE), Path(modeling.__file__)):
        digest.update(f"\n{path.name} {file_sha256(path)}".encode())
    return digest.hexdigest()
