"""Checks of `luthier doctor` about engines: native kernels, running engines, and those to start."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from app.catalog import CatalogModel
from app.engine_options import EngineKind
from app.inference.engine_connection import find_base_name, find_kind
from app.inference.engine_errors import NotSupportedByEngine
from app.inference.engine_http import create_client, read_object
from app.local.finding import Finding
from app.settings import Settings

TIMEOUT_SECONDS = 5.0
# A compiler that is tried, or a large environment that is searched for a package.
PROCESS_TIMEOUT_SECONDS = 120.0


def check_kernels(settings: Settings) -> Finding:
    """Describe where the engine's native kernels come from. Torch alone is slower, but no fault."""
    if not settings.native_kernels:
        sentence = "switched off by LUTHIER_NATIVE_KERNELS: torch alone computes, which is slower"
        return Finding("native kernels", True, sentence)
    models = settings.home / "cache" / "models"
    command = [sys.executable, "-m", "worker.inference.native.check", str(models)]
    works, output = _run(command)
    if works:
        return Finding("native kernels", True, f"{output}, for engines on a CPU")
    sentence = (
        f"none: {output.rstrip('.')}. On a CPU, torch alone computes, which is slower; install "
        "gcc, clang or the Python package ziglang"
    )
    return Finding("native kernels", True, sentence)


def check_engines(settings: Settings, models: Iterable[CatalogModel]) -> Iterator[Finding]:
    """Check every engine that the catalog names."""
    models = list(models)
    yield from (_check_managed(model) for model in models if model.managed_engine is not None)
    named = [(model, url) for model in models for url in model.engine_urls]
    yield from asyncio.run(_check_running(settings, named))


def _check_managed(model: CatalogModel) -> Finding:
    """Check that the package of an engine that `luthier up` starts is installed."""
    kind = model.managed_engine
    assert kind is not None
    python = model.engine_options.python or sys.executable
    part = f"engine of {model.id}"
    search = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({kind.value!r}))"
    works, output = _run([python, "-c", search])
    if works:
        return Finding(part, True, f"{kind.value} is installed for {python}")
    reason = output or f"there is no package {kind.value}"
    return Finding(
        part, False, f"{python} cannot start it: {reason}; see python in [model.engine_options]"
    )


async def _check_running(
    settings: Settings, engines: list[tuple[CatalogModel, str]]
) -> list[Finding]:
    async with create_client(TIMEOUT_SECONDS) as client:
        checks = (_check_url(client, settings, model, url) for model, url in engines)
        return await asyncio.gather(*checks)


async def _check_url(
    client: httpx.AsyncClient, settings: Settings, model: CatalogModel, url: str
) -> Finding:
    """Check that an engine answers, is of the configured kind, and serves the model."""
    part = f"engine of {model.id}"
    try:
        response = await client.get(f"{url}/v1/models", headers=_headers(settings, model))
    except httpx.TransportError as error:
        return Finding(part, False, f"{url} cannot be reached: {error!r}")
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Finding(
            part,
            False,
            f"{url} refuses the key: set send_api_key in [model.engine_options], and "
            "LUTHIER_ENGINE_API_KEY to the engine's key",
        )
    models = (read_object(response.content) or {}).get("data")
    if response.is_error or not isinstance(models, list):
        return Finding(part, False, f"{url}/v1/models has no models: {response.status_code}")
    problem = _find_problem(model, [each for each in models if isinstance(each, dict)])
    return Finding(part, problem is None, f"{url} {problem or 'answers, and serves the model'}")


def _find_problem(model: CatalogModel, models: list[dict[str, Any]]) -> str | None:
    options = model.engine_options
    kind = find_kind(models)
    if options.kind and kind not in (options.kind, EngineKind.OTHER):
        return f"is {kind.value}, and its entry says {options.kind}"
    names = [str(each.get("id")) for each in models]
    if options.model:
        return None if options.model in names else f"serves no {options.model}: {', '.join(names)}"
    try:
        find_base_name(models, model)
    except NotSupportedByEngine:
        return f"serves {', '.join(names)}: name one as model in [model.engine_options]"
    return None


def _headers(settings: Settings, model: CatalogModel) -> dict[str, str]:
    key = settings.engine_api_key
    if key is None or not model.engine_options.send_api_key:
        return {}
    return {"Authorization": f"Bearer {key.get_secret_value()}"}


def _run(command: list[str]) -> tuple[bool, str]:
    """Run a command; whether it succeeded, and its last line."""
    try:
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PROCESS_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    lines = (finished.stdout.strip() or finished.stderr.strip()).splitlines()
    return finished.returncode == 0, lines[-1] if lines else ""
