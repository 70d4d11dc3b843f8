"""Rendered rows of a job's files, kept in its run folder, so that no later attempt renders again.

Rendering and tokenizing 50,000 chats takes minutes, and an interrupted job would begin each attempt
with them. The supervisor keeps the rows of an unfinished job for its next attempt on the same
machine (`worker.supervisor.kept_rows`); no other job reads them. Whatever rows depend on is part of
their key, and a file that is damaged or has another key is rendered again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app import formats, logs
from app.manifests import file_sha256
from app.wire.long_rows import LongRowPolicy
from worker import model
from worker.model.rendering import Renderer
from worker.run_folder import RunFolder
from worker.training import objectives
from worker.training.batching import Row
from worker.training.chat_data import ChatData
from worker.training.objectives.dpo import PreferencePair

FORMAT_VERSION = 1
# The code that makes rows, and the libraries that it uses: other versions may make other rows.
CODE = (model, formats, objectives)
LIBRARIES = ("jinja2", "tokenizers", "transformers")
# Files of a base model that rows depend on: the tokenizer, the template, the ids that end answers.
MODEL_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
ARRAYS = ("ids", "id_counts", "labels", "label_counts")

log = logs.get_logger(__name__)


def read_files(
    folder: RunFolder, renderer: Renderer, read_rows: Callable[..., ChatData[Any]], key: str
) -> tuple[ChatData[Any], Sequence[Any]]:
    """Read the training file, and the rows of the validation file if there is one.

    `key` is from `compute_key`. Raises TrainingError, see `read_rows`.
    """

    def read(path: Path, param: str) -> ChatData[Any]:
        render = partial(read_rows, path, renderer, param=param)
        return read_or_render(path, folder.rows / f"{param}.safetensors", key, render)

    data = read(folder.train_file, "training_file")
    if not folder.valid_file.exists():
        return data, ()
    validation = read(folder.valid_file, "validation_file")
    warnings = list(dict.fromkeys([*data.warnings, *validation.warnings]))
    return replace(data, warnings=warnings), validation.rows


def read_or_render(
    path: Path, kept: Path, key: str, render: Callable[[], ChatData[Any]]
) -> ChatData[Any]:
    """Read the rows of a file that an earlier attempt has kept, or render and keep them."""
    key = hashlib.sha256(f"{key} {file_sha256(path)}".encode()).hexdigest()
    data = _load(kept, key)
    if data is None:
        data = render()
        _save(data, kept, key)
    return data


def compute_key(
    model_folder: Path, renderer: Renderer, *, method: str, long_rows: LongRowPolicy
) -> str:
    """Compute a digest of everything but the file that its rows depend on."""
    digest = hashlib.sha256()
    parts = [
        FORMAT_VERSION,
        method,
        str(long_rows),
        renderer.context_length,
        asdict(renderer.options),
        {name: version(name) for name in LIBRARIES},
    ]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for path in (*list_code(CODE), *_list_model_files(model_folder)):
        digest.update(f"\n{path.name} {file_sha256(path)}".encode())
    return digest.hexdigest()


def list_code(packages: Iterable[ModuleType]) -> Iterator[Path]:
    """Yield the modules of packages and of those below them."""
    for package in packages:
        yield from sorted(Path(package.__path__[0]).rglob("*.py"))


def _list_model_files(folder: Path) -> list[Path]:
    names = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    # Lists the tensors of a model in several files.
    return sorted(path for path in names if not path.name.endswith(".index.json"))


def _load(path: Path, key: str) -> ChatData[Any] | None:
    """Load rows; None if there are none with this key, or if the file is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
        if metadata["digest"] != _compute_digest(arrays, metadata["about"]):
            log.warning("rendered_rows.damaged", file=path.name)
            return None
        about = json.loads(metadata["about"])
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        log.warning("rendered_rows.unreadable", file=path.name, reason=str(error))
        return None
    rows = list(_split(arrays))
    if about["pairs"]:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        return ChatData([PreferencePair(*pair) for pair in pairs], about["warnings"])
    return ChatData(rows, about["warnings"])


def _save(data: ChatData[Any], path: Path, key: str) -> None:
    """Write rows; the job goes on without if that fails."""
    has_pairs = bool(data.rows) and isinstance(data.rows[0], PreferencePair)
    rows = [row for item in data.rows for row in _list_rows(item)]
    arrays: dict[str, NDArray[Any]] = {
        "ids": _concatenate([row.ids for row in rows]),
        "id_counts": np.array([len(row.ids) for row in rows], dtype=np.int64),
        "labels": _concatenate([row.label_positions for row in rows]),
        "label_counts": np.array([len(row.label_positions) for row in rows], dtype=np.int64),
    }
    about = json.dumps({"pairs": has_pairs, "warnings": data.warnings})
    metadata = {"key": key, "about": about, "digest": _compute_digest(arrays, about)}
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        save_file(arrays, partial, metadata)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        log.warning("rendered_rows.not_kept", reason=str(error))
        partial.unlink(missing_ok=True)


def _list_rows(item: Row | PreferencePair) -> Sequence[Row]:
    return (item.chosen, item.rejected) if isinstance(item, PreferencePair) else (item,)


def _concatenate(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(0, dtype=np.int32), *parts])


def _split(arrays: dict[str, NDArray[Any]]) -> Iterator[Row]:
    id_end = label_end = 0
    counts = zip(arrays["id_counts"].tolist(), arrays["label_counts"].tolist(), strict=True)
    for num_ids, num_labels in counts:
        id_start, id_end = id_end, id_end + num_ids
        label_start, label_end = label_end, label_end + num_labels
        yield Row(arrays["ids"][id_start:id_end], arrays["labels"][label_start:label_end])


def _compute_digest(arrays: dict[str, NDArray[Any]], about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name in ARRAYS:
        digest.update(arrays[name].data)
    return digest.hexdigest()
