"""`python -m worker.managed_engine MODEL URL`: becomes the engine of `engine = "vllm"` or "sglang".

It fetches or converts the base model, as every process that needs one does, and then replaces
itself by the engine, which the supervisor of `luthier up` so watches, restarts and stops directly.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app import logs
from app.catalog import Catalog, CatalogError, CatalogModel
from app.engine_options import DEFAULT_MAX_LORA_RANK, EngineKind
from app.settings import Settings
from worker.bucket_models import fetch_from_bucket
from worker.model_cache import ModelUnavailable
from worker.model_sources import materialize

log = logs.get_logger(__name__)

# Variables of this process that the engine gets. It has no business with Luthier's secrets.
INHERITED = ("HOME", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "TMPDIR", "TZ", "USER")
INHERITED_PREFIXES = (
    *("CUDA_", "HIP_", "LC_", "NCCL_", "NVIDIA_", "OMP_", "PYTORCH_", "ROCR_", "SGLANG_"),
    *("TORCH", "TRITON_", "VLLM_"),
)
MODULES = {
    EngineKind.VLLM: "vllm.entrypoints.openai.api_server",
    EngineKind.SGLANG: "sglang.launch_server",
}


def build_command(model: CatalogModel, folder: Path, *, host: str, port: int) -> list[str]:
    """The command of a base model's engine, whose weights are in `folder`."""
    kind = model.managed_engine
    assert kind is not None
    options = model.engine_options
    rank = str(options.max_lora_rank or DEFAULT_MAX_LORA_RANK)
    loras = str(options.max_loras)
    command = [options.python or sys.executable, "-m", MODULES[kind]]
    if kind == EngineKind.VLLM:
        command += ["--model", str(folder), "--max-loras", loras]
    else:
        command += ["--model-path", str(folder), "--max-loras-per-batch", loras]
        command += ["--lora-target-modules", "all"]
    command += ["--served-model-name", model.id, "--host", host, "--port", str(port)]
    command += ["--enable-lora", "--max-lora-rank", rank]
    # Later arguments win.
    return [*command, *options.arguments]


def build_environment(
    model: CatalogModel, settings: Settings, environment: Mapping[str, str]
) -> dict[str, str]:
    """The engine's environment: what hardware and libraries read, and the options' own."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    if model.managed_engine == EngineKind.VLLM:
        kept["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if settings.engine_api_key is not None:
            kept["VLLM_API_KEY"] = settings.engine_api_key.get_secret_value()
    # Nothing is fetched from a hub, and nobody is told what is run.
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    own = dict(text.partition("=")[::2] for text in model.engine_options.environment)
    return {**kept, **offline, "PYTHONUNBUFFERED": "1", **own}


def main(model_id: str, url: str) -> int:
    settings = Settings()
    logs.configure(settings.log_level, "engine")
    try:
        model = Catalog.load(settings.models_file).get(model_id)
    except CatalogError as error:
        log.error("engine.invalid_catalog", reason=str(error))
        return 2
    if model is None or model.managed_engine is None:
        log.error("engine.not_managed", model=model_id)
        return 2
    cache = settings.home / "cache" / "models"
    try:
        fetch_from_bucket(model, cache, settings)
        folder = materialize(model, cache)
    except ModelUnavailable as error:
        log.error("engine.model_unavailable", reason=str(error))
        return 1
    address = urlsplit(url)
    command = build_command(
        model, folder.absolute(), host=address.hostname or "127.0.0.1", port=address.port or 80
    )
    environment = build_environment(model, settings, os.environ)
    log.info("engine.starting", model=model.id, command=" ".join(command))
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        log.error("engine.not_started", python=command[0], reason=str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
