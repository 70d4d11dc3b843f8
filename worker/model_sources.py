"""Folders of base models: where their source is, or made of it in the cache."""

import base64
import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers.utils.logging import disable_progress_bar

from app import logs
from app.catalog import HF_LOCATION, CatalogModel
from worker.light_imports import import_models
from worker.model_cache import (
    MODEL_FILE_PATTERNS,
    ModelUnavailable,
    get_cache_folder,
    is_cached,
    needs_cache,
    populate_once,
    recall_sha256,
)

log = logs.get_logger(__name__)


def materialize(model: CatalogModel, cache: Path) -> Path:
    """Return a local folder of `model` in Hugging Face's layout, made in `cache` if necessary.

    Safe to call from several processes: one downloads or converts while the others wait.
    Raises ModelUnavailable.
    """
    scheme, _, location = model.source.partition(":")
    if scheme == "path":
        return _check_model_folder(Path(location), model)
    if scheme == "package":
        path = _find_in_package(location, model)
        return _convert_gguf_once(path, model, cache) if path.suffix == ".gguf" else path
    if scheme == "hf":
        return _download_once(location, model, cache)
    if scheme == "s3" and is_cached(model, cache):
        # Fetched by a process that may read storage: see worker/bucket_models.py.
        return _check_model_folder(get_cache_folder(model, cache), model)
    raise ModelUnavailable(
        f"The model {model.id} has the source {model.source!r}; only path:, package:, hf: and "
        "s3://, once a trainer or engine has fetched it, are supported. Download it into a folder "
        "first and use path:."
    )


def find_folder(model: CatalogModel, cache: Path) -> Path:
    """Return the folder of a model, which is neither fetched nor converted for it.

    Raises ModelUnavailable.
    """
    if needs_cache(model) and not is_cached(model, cache):
        raise ModelUnavailable(
            f"The model {model.id} has not been fetched yet. It is with the first request to it or "
            "job on it."
        )
    return get_cache_folder(model, cache) if needs_cache(model) else materialize(model, cache)


def _check_model_folder(folder: Path, model: CatalogModel) -> Path:
    """Return `folder` if its model does not need custom code. Raises ModelUnavailable."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"The model {model.id} is not readable at {folder}: {error}."
        ) from error
    # auto_map names Python files in the folder, which transformers would execute in this process.
    # Those of an architecture that it has itself, such as Phi-4-mini's, are never read.
    if "auto_map" in config and not _is_known(config.get("model_type")):
        raise ModelUnavailable(f"The model {model.id} needs its own code, which is never executed.")
    return folder


def _is_known(architecture: str | None) -> bool:
    """True if it is one of transformers' own; importing their list takes long."""
    from transformers import CONFIG_MAPPING

    return architecture in CONFIG_MAPPING


def _find_in_package(location: str, model: CatalogModel) -> Path:
    name, _, path_inside = location.partition("/")
    try:
        package = distribution(name)
    except PackageNotFoundError as error:
        raise ModelUnavailable(
            f"The model {model.id} comes from the package {name}, which is not installed."
        ) from error
    path = Path(str(package.locate_file(path_inside)))
    if not path.exists():
        raise ModelUnavailable(
            f"The package {name} does not contain {path_inside} of the model {model.id}."
        )
    if path.is_file():
        return path
    _check_package(location, model)
    return _check_model_folder(path, model)


def _check_package(location: str, model: CatalogModel) -> None:
    """Raise ModelUnavailable unless the package's files are as they were installed."""
    name, _, path_inside = location.partition("/")
    damaged = _find_damage_in_package(distribution(name), path_inside)
    if damaged is not None:
        log.error("model.damaged", model=model.id, file=damaged)
        raise ModelUnavailable(
            f"The file {damaged} of the model {model.id} is damaged. Reinstall the package {name}."
        )


def _find_damage_in_package(package: Distribution, path_inside: str) -> str | None:
    """Return the first file at or below a path that is not as the package's RECORD lists it."""
    for file in package.files or ():
        is_inside = file.as_posix() == path_inside or file.as_posix().startswith(f"{path_inside}/")
        if not is_inside or file.hash is None or file.hash.mode != "sha256":
            continue
        path = Path(str(file.locate()))
        if not path.is_file() or _record_sha256(path) != file.hash.value:
            return file.as_posix()
    return None


def _record_sha256(path: Path) -> str:
    """Compute a file's SHA-256 as RECORD files have it: URL-safe base64 without padding."""
    digest = bytes.fromhex(recall_sha256(path))
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _convert_gguf_once(gguf: Path, model: CatalogModel, cache: Path) -> Path:
    with populate_once(model, cache) as partial:
        if partial is not None:
            _check_package(model.source.partition(":")[2], model)
            _dequantize(gguf, partial)
    return _check_model_folder(get_cache_folder(model, cache), model)


def _download_once(location: str, model: CatalogModel, cache: Path) -> Path:
    match = HF_LOCATION.fullmatch(location)
    if match is None:
        raise ModelUnavailable(f"The source of the model {model.id} names no commit: {location}.")
    with populate_once(model, cache) as partial:
        if partial is not None:
            _download(match["repository"], match["revision"], model, partial)
    return _check_model_folder(get_cache_folder(model, cache), model)


def _download(repository: str, revision: str, model: CatalogModel, folder: Path) -> None:
    """Download a commit of a hub repository and check each file against the hash that the commit
    records. Raises ModelUnavailable."""
    try:
        snapshot_download(
            repository, revision=revision, local_dir=folder, allow_patterns=MODEL_FILE_PATTERNS
        )
        verified = HfApi().verify_repo_checksums(repository, revision=revision, local_dir=folder)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(
            f"The model {model.id} could not be fetched from {repository}: {error}."
        ) from error
    wrong = [mismatch["path"] for mismatch in verified.mismatches] + verified.extra_paths
    if wrong:
        raise ModelUnavailable(
            f"The model {model.id} was not fetched as {repository} has it at {revision}: "
            f"{', '.join(sorted(wrong))} differs. Try again; if it persists, do not use the model."
        )


def _dequantize(gguf: Path, folder: Path) -> None:
    """Convert a GGUF file to safetensors in bfloat16, with its tokenizer.

    bfloat16 loses nothing that a GGUF of 4 to 8 bits contains, and these models were trained in it.
    """
    # Importing transformers' models takes long, and this is done once.
    import_models()
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    disable_progress_bar()
    # Without dequantize=True the weights stay quantized and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    tokenizer.save_pretrained(folder)
