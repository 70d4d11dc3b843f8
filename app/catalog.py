"""Catalog of base models (models.toml) and the grammar of fine-tuned model names."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.engine_options import (
    DEFAULT_MAX_LORA_RANK,
    DEFAULT_OPTIONS,
    MANAGED_KINDS,
    EngineKind,
    EngineOptions,
    EngineOptionsError,
    parse_engine,
    parse_options,
)


class ModelKind(StrEnum):
    CAUSAL = "causal"
    ENCODER = "encoder"


class Quantization(StrEnum):
    """Format of a base model's weights in the built-in engine."""

    NONE = ""
    INT8 = "int8"


# Fine-tuning methods by model kind; a job with any other method would only fail late.
METHODS_BY_KIND: Mapping[ModelKind, tuple[str, ...]] = {
    ModelKind.CAUSAL: ("supervised", "dpo", "classification"),
    ModelKind.ENCODER: (
        "classification",
        "token_classification",
        "question_answering",
        "embedding",
    ),
}
# A model trained with one of these methods can be trained further with any of them: all produce
# adapters of causal models.
GENERATIVE_METHODS = ("supervised", "dpo")
# The checkout, with the models.toml that comes with it.
INSTALLATION = Path(__file__).resolve().parents[1]
SOURCE_SCHEMES = ("package", "path", "hf", "s3")
BUCKET_LOCATION = re.compile(r"//[a-z0-9][a-z0-9.-]+/[A-Za-z0-9._/-]+")
# A branch or a tag of a hub can be moved to other files; a commit cannot.
HF_LOCATION = re.compile(
    r"(?P<repository>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"@(?P<revision>[0-9a-f]{40})"
)

# Where others find a base model. Without a commit, they get the newest version.
HUB_MODEL = re.compile(
    r"(?P<repository>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(@(?P<revision>[0-9a-f]{40}))?"
)

# Clients give up after some minutes, and a small model may never end an answer: 2,048 tokens take
# less than five minutes at 7 tokens per second, and are enough for most answers with reasoning.
DEFAULT_MAX_COMPLETION_TOKENS = 2048

# No part between slashes starts with a dot: ids become directory names.
MODEL_ID = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
# No base model and no alias of a project has a colon.
FINE_TUNED_PREFIX = "ft:"
FINE_TUNED_MODEL_NAME = re.compile(
    r"ft:(?P<base>[^:]+):(?P<organization>[a-z0-9-]+):(?P<suffix>[^:]*):(?P<tag>[A-Za-z0-9]{8})"
    r"(?::ckpt-step-(?P<step>[0-9]+))?"
)


class CatalogError(ValueError):
    """models.toml is invalid; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub, at a commit or at its newest version."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One base model: an entry of models.toml. `context_length` is in tokens.

    `max_completion_tokens` limits answers to chats that name no limit of their own.
    `hub` and `license` are for exported models: where others find this base, and its licence.
    `engine` is the kind of an engine that `luthier up` starts, URLs of running ones, or None for
    the default engine, which holds weights as `quantization` says.
    """

    id: str
    source: str
    kind: ModelKind
    methods: tuple[str, ...]
    context_length: int
    aliases: tuple[str, ...] = ()
    engine: str | tuple[str, ...] | None = None
    engine_options: EngineOptions = DEFAULT_OPTIONS
    hub: str = ""
    license: str = ""
    max_completion_tokens: int = DEFAULT_MAX_COMPLETION_TOKENS
    quantization: str = Quantization.NONE

    @property
    def hub_model(self) -> HubModel | None:
        """The base on the hub: `hub`, or its source if it comes from there."""
        match = HUB_MODEL.fullmatch(self.hub or self.source.removeprefix("hf:"))
        return None if match is None else HubModel(match["repository"], match["revision"])

    @property
    def managed_engine(self) -> EngineKind | None:
        """Kind of the engine that `luthier up` starts for this model, if it does."""
        return EngineKind(str(self.engine)) if self.engine in MANAGED_KINDS else None

    @property
    def engine_kind(self) -> EngineKind:
        """Kind of the engine that serves this model; OTHER where only the engine can tell."""
        if self.engine is None:
            return EngineKind.LUTHIER
        return self.managed_engine or EngineKind(self.engine_options.kind or EngineKind.OTHER)

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """URLs of running engines that serve this model, without trailing slashes."""
        if self.engine is None or self.managed_engine is not None:
            return ()
        urls = (self.engine,) if isinstance(self.engine, str) else self.engine
        return tuple(url.rstrip("/") for url in urls)

    @property
    def max_lora_rank(self) -> int | None:
        """Highest rank of adapters that the engine accepts; None if it is not known."""
        default = DEFAULT_MAX_LORA_RANK if self.managed_engine is not None else None
        return self.engine_options.max_lora_rank or default

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values, as in a run folder's spec.json.

        Without its engine, whose address and options may have keys in them, and without a
        quantization that it does not have: versions that know none read the rest.
        """
        names = set(self.__slots__) - {"engine", "engine_options"}
        names -= set() if self.quantization else {"quantization"}
        return {name: getattr(self, name) for name in self.__slots__ if name in names}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CatalogModel":
        """Build an entry from JSON values or from one [[model]] table of models.toml.

        Raises CatalogError if a field is missing, unknown, of the wrong type or has an unsupported
        value.
        """
        where = f"model {values.get('id', '?')!r}"
        lists = {"methods": values.get("methods"), "aliases": values.get("aliases", [])}
        try:
            parsed: dict[str, Any] = {name: _string_tuple(value) for name, value in lists.items()}
            parsed["engine"] = parse_engine(values.get("engine"))
            parsed["engine_options"] = parse_options(values.get("engine_options", {}))
            model = cls(**{**values, **parsed})
        except (TypeError, EngineOptionsError) as error:
            raise CatalogError(f"{where}: {error}") from error
        problem = _find_error(model)
        if problem is not None:
            raise CatalogError(f"{where}: {problem}")
        return replace(model, kind=ModelKind(model.kind))


def can_continue(before: str, method: str) -> bool:
    """Check whether a model made by the method `before` can be trained further by `method`."""
    return method == before or (method in GENERATIVE_METHODS and before in GENERATIVE_METHODS)


def _find_error(model: CatalogModel) -> str | None:
    """Find the first invalid value of an entry. The values may still be of any type."""
    for name in (model.id, *model.aliases):
        if not isinstance(name, str) or not MODEL_ID.fullmatch(name):
            return f"{name!r} is not a valid model id (letters, digits, . _ / -)"
    if not _is_valid_source(model.source):
        return f"source must be 'package:…', 'path:…', 'hf:…' or 's3://…', not {model.source!r}"
    scheme, _, location = model.source.partition(":")
    if scheme == "hf" and not HF_LOCATION.fullmatch(location):
        return (
            f"the source {model.source!r} names no commit; write 'hf:owner/name@COMMIT' with the "
            "40 hex digits of the commit, from the repository's history or `git ls-remote`"
        )
    if scheme == "s3" and not BUCKET_LOCATION.fullmatch(location):
        return f"the source {model.source!r} is no prefix of a bucket; write 's3://BUCKET/PREFIX'"
    if model.kind not in list(ModelKind):
        return f"kind must be 'causal' or 'encoder', not {model.kind!r}"
    for method in model.methods:
        supported = METHODS_BY_KIND[model.kind]
        if method not in supported:
            return f"{model.kind} models support {', '.join(supported)}, not {method!r}"
    if not isinstance(model.hub, str) or (model.hub and not HUB_MODEL.fullmatch(model.hub)):
        return f"hub must be 'owner/name' or 'owner/name@COMMIT', not {model.hub!r}"
    if not isinstance(model.license, str):
        return f"license must be a text, such as 'apache-2.0', not {model.license!r}"
    for name in ("context_length", "max_completion_tokens"):
        value = getattr(model, name)
        if type(value) is not int or value < 1:
            return f"{name} must be a positive number of tokens"
    return _find_quantization_error(model)


def _find_quantization_error(model: CatalogModel) -> str | None:
    if model.quantization not in list(Quantization):
        return f"quantization must be 'int8', not {model.quantization!r}"
    if not model.quantization:
        return None
    if model.kind != ModelKind.CAUSAL:
        return "quantization is for causal models; remove it"
    if model.engine is not None:
        return "quantization is for the built-in engine; configure that of `engine` instead"
    return None


def _is_valid_source(source: object) -> bool:
    if not isinstance(source, str):
        return False
    scheme, _, location = source.partition(":")
    return scheme in SOURCE_SCHEMES and location != ""


def _string_tuple(value: Any) -> tuple[str, ...]:
    # A string is a sequence of strings too, and would become a tuple of letters.
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError("methods and aliases must be lists of strings")
    return tuple(value)


class Catalog:
    """Base models by id and alias."""

    def __init__(self, models: Iterable[CatalogModel]) -> None:
        """Raises CatalogError if two models share a name."""
        self._models = tuple(models)
        self._by_name: dict[str, CatalogModel] = {}
        for model in self._models:
            for name in (model.id, *model.aliases):
                if name in self._by_name:
                    raise CatalogError(f"the name {name!r} is used by two models")
                self._by_name[name] = model

    @classmethod
    def load(cls, path: Path) -> "Catalog":
        """Read models.toml. Raises CatalogError if it is missing, unreadable or malformed."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CatalogError(_describe_missing_file(path)) from error
        except OSError as error:
            raise CatalogError(f"{path} cannot be read: {error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogError(f"{path} is not valid TOML: {error}") from error
        entries = document.get("model", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise CatalogError(f"{path}: start each model with [[model]]")
        return cls(CatalogModel.from_json(entry) for entry in entries)

    def get(self, name: str) -> CatalogModel | None:
        """The model with this id or alias, or None."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[CatalogModel]:
        return iter(self._models)


def _describe_missing_file(path: Path) -> str:
    """A relative path, as the default one is, is found in the folder of the installation."""
    if not path.is_absolute() and (INSTALLATION / path).is_file():
        return (
            f"{path.absolute()} does not exist; run the command in {INSTALLATION}, or set "
            "LUTHIER_MODELS_FILE"
        )
    return f"{path} does not exist; set LUTHIER_MODELS_FILE"


@dataclass(frozen=True, slots=True)
class FineTunedModelName:
    """`ft:{base}:{organization}:{suffix}:{tag}`, plus `:ckpt-step-{step}` for a checkpoint."""

    base: str
    organization: str
    suffix: str
    tag: str
    step: int | None = None

    def __str__(self) -> str:
        name = f"ft:{self.base}:{self.organization}:{self.suffix}:{self.tag}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"

    @classmethod
    def parse(cls, text: str) -> "FineTunedModelName | None":
        """Parse a name; None if `text` is not the name of a fine-tuned model."""
        match = FINE_TUNED_MODEL_NAME.fullmatch(text)
        if match is None:
            return None
        step = match["step"]
        return cls(
            base=match["base"],
            organization=match["organization"],
            suffix=match["suffix"],
            tag=match["tag"],
            step=None if step is None else int(step),
        )
