"""Options of a base model's engine: the table `[model.engine_options]` of models.toml."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

DEFAULT_ADAPTER_BYTES = 16 * 2**30
DEFAULT_PORT = 8200
MAX_PORT = 65535
# Of an engine that Luthier starts. It reserves memory for each of its adapters at this rank.
DEFAULT_MAX_LORA_RANK = 64


class EngineKind(StrEnum):
    """Kind of server that an engine is."""

    LUTHIER = "luthier"
    VLLM = "vllm"
    SGLANG = "sglang"
    # Any other server with OpenAI's API: it serves base models only.
    OTHER = "other"


# Kinds that `luthier up` can start itself.
MANAGED_KINDS = (EngineKind.VLLM, EngineKind.SGLANG)
KINDS = tuple(kind.value for kind in EngineKind)


class EngineOptionsError(ValueError):
    """The engine of an entry is invalid; the message names the field."""


def _described(default: Any, description: str) -> Any:
    """A field with a description, which the reference page shows."""
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options by which Luthier uses, or starts, the engine of one base model."""

    kind: str = _described(
        "",
        "`vllm`, `sglang`, `luthier` or `other`; without it, the engine is asked at first use "
        "(`owned_by` of its `/v1/models`)",
    )
    model: str = _described(
        "",
        "the base model's name at the engine; without it, the entry's id if the engine has it, "
        "else its only base model",
    )
    adapters: str = _described(
        "",
        "folder that Luthier writes adapters to and the engine reads them from, by default "
        "`cache/engine-adapters` in LUTHIER_HOME; its permissions are those of the files in it",
    )
    adapters_at_engine: str = _described(
        "", "path of that folder as the engine sees it, where it is mounted elsewhere"
    )
    adapters_max_bytes: int = _described(
        DEFAULT_ADAPTER_BYTES,
        "bytes of adapters in that folder; those unused for longest are removed, and are fetched "
        "again when they are needed. Of entries that share a folder, the lowest limit",
    )
    max_lora_rank: int = _described(
        0,
        "highest rank of adapters that the engine accepts; others are refused with a sentence. "
        "Of an engine that Luthier starts, the rank that it is started with (64)",
    )
    max_loras: int = _described(
        8, "adapters in one batch of an engine that Luthier starts (`--max-loras`)"
    )
    send_api_key: bool = _described(
        False,
        "whether requests have LUTHIER_ENGINE_API_KEY as their bearer key, as those to the default "
        "engine do",
    )
    python: str = _described(
        "",
        "Python with which Luthier starts the engine: that of a virtual environment in which vLLM "
        "or SGLang is installed. By default Luthier's own",
    )
    arguments: tuple[str, ...] = _described((), "more arguments of an engine that Luthier starts")
    environment: tuple[str, ...] = _described(
        (), "more environment variables of an engine that Luthier starts, as `NAME=value`"
    )
    port: int = _described(
        DEFAULT_PORT, "port of an engine that Luthier starts, or the next free one above it"
    )


DEFAULT_OPTIONS = EngineOptions()


def parse_engine(value: object) -> str | tuple[str, ...] | None:
    """Check the field `engine` of an entry. Raises EngineOptionsError."""
    if value is None or value in MANAGED_KINDS:
        return None if value is None else str(value)
    urls = (value,) if isinstance(value, str) else value
    if not isinstance(urls, list | tuple) or not urls or not all(map(_is_url, urls)):
        raise EngineOptionsError(
            "engine must be 'vllm' or 'sglang', which Luthier then starts, or the URL of a running "
            f"engine, or a list of such URLs, not {value!r}"
        )
    if len({url.rstrip("/") for url in urls}) < len(urls):
        raise EngineOptionsError("engine names the same URL twice")
    return value if isinstance(value, str) else tuple(map(str, urls))


def parse_options(value: object) -> EngineOptions:
    """Check the table `engine_options` of an entry. Raises EngineOptionsError."""
    if isinstance(value, EngineOptions):
        return value
    if not isinstance(value, Mapping):
        raise EngineOptionsError("engine_options must be a table, [model.engine_options]")
    known = {option.name: option for option in fields(EngineOptions)}
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise EngineOptionsError(
            f"engine_options has no key {unknown[0]!r}; it has {', '.join(known)}"
        )
    values = dict(value)
    for problem in _find_errors(values):
        raise EngineOptionsError(f"engine_options: {problem}")
    for name in ("arguments", "environment"):
        values[name] = tuple(values.get(name, ()))
    return EngineOptions(**values)


def _find_errors(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("kind", "model", "adapters", "adapters_at_engine", "python"):
        if not isinstance(values.get(name, ""), str):
            yield f"{name} must be a text"
    if values.get("kind") and values["kind"] not in KINDS:
        yield f"kind must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {values['kind']!r}"
    for name, lowest in (("adapters_max_bytes", 1), ("max_lora_rank", 0), ("max_loras", 1)):
        number = values.get(name, lowest)
        if type(number) is not int or number < lowest:
            yield f"{name} must be a whole number of at least {lowest}"
    port = values.get("port", DEFAULT_PORT)
    if type(port) is not int or not 1 <= port <= MAX_PORT:
        yield f"port must be a whole number from 1 to {MAX_PORT}"
    if not isinstance(values.get("send_api_key", False), bool):
        yield "send_api_key must be true or false"
    for name in ("arguments", "environment"):
        texts = values.get(name, [])
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            yield f"{name} must be a list of texts"
        elif name == "environment" and not all(text.partition("=")[1] for text in texts):
            yield "environment must be a list of texts such as 'NAME=value'"


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        return False
    has_host = url.scheme in ("http", "https") and bool(url.hostname) and port != 0
    return has_host and not url.query and not url.fragment
