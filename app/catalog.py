"""Base models, their aliases, and the grammar of tuned models' names. Read by every process."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ModelKind = Literal["causal", "encoder"]

# What can be trained, by the kind of the model; a job with any other method would only fail late.
METHODS_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "causal": ("supervised", "dpo", "classification"),
    "encoder": ("classification", "token_classification", "question_answering", "embedding"),
}
SOURCE_SCHEMES = ("package", "path", "hf")

# Of each part between slashes the first character is no dot: ids become names of folders.
MODEL_ID = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
FINE_TUNED_MODEL_NAME = re.compile(
    r"ft:(?P<base>[^:]+):(?P<organization>[a-z0-9-]+):(?P<suffix>[^:]*):(?P<tag>[A-Za-z0-9]{8})"
    r"(?::ckpt-step-(?P<step>[0-9]+))?"
)


class CatalogError(ValueError):
    """models.toml is not usable; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One entry of models.toml. `context_length` is in tokens."""

    id: str
    source: str
    kind: ModelKind
    methods: tuple[str, ...]
    context_length: int
    aliases: tuple[str, ...] = ()
    engine: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a run folder's spec carries them."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CatalogModel":
        """The inverse of `to_json`, and what one table of models.toml becomes.

        Raises CatalogError if a field is missing, unknown, of the wrong kind or has a value that
        nothing here can work with.
        """
        where = f"model {values.get('id', '?')!r}"
        lists = {"methods": values.get("methods"), "aliases": values.get("aliases", [])}
        try:
            model = cls(
                **{**values, **{name: _string_tuple(value) for name, value in lists.items()}}
            )
        except TypeError as error:
            raise CatalogError(f"{where}: {error}") from error
        fault = _find_error(model)
        if fault is not None:
            raise CatalogError(f"{where}: {fault}")
        return model


def _find_error(model: CatalogModel) -> str | None:
    """What is wrong with a model's values, which may still be of any type."""
    for name in (model.id, *model.aliases):
        if not isinstance(name, str) or not MODEL_ID.fullmatch(name):
            return f"{name!r} is no model id (letters, digits, . _ / -)"
    if not _is_valid_source(model.source):
        return f"source must be package:, path: or hf: and a place, not {model.source!r}"
    if model.kind not in ("causal", "encoder"):
        return f"kind must be 'causal' or 'encoder', not {model.kind!r}"
    for method in model.methods:
        if method not in METHODS_BY_KIND[model.kind]:
            there = ", ".join(METHODS_BY_KIND[model.kind])
            return f"the methods of {model.kind} models are {there}; {method!r} is none of them"
    if type(model.context_length) is not int or model.context_length < 1:
        return "context_length must be a positive number of tokens"
    return None


def _is_valid_source(source: object) -> bool:
    if not isinstance(source, str):
        return False
    scheme, _, place = source.partition(":")
    return scheme in SOURCE_SCHEMES and place != ""


def _string_tuple(value: Any) -> tuple[str, ...]:
    # A string is a sequence of strings too, and would become a list of letters.
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError("methods and aliases must be lists of strings")
    return tuple(value)


class Catalog:
    """The base models by id and alias. Raises CatalogError if a name stands for two models."""

    def __init__(self, models: Iterable[CatalogModel]) -> None:
        self._models = tuple(models)
        self._by_name: dict[str, CatalogModel] = {}
        for model in self._models:
            for name in (model.id, *model.aliases):
                if name in self._by_name:
                    raise CatalogError(f"the name {name!r} stands for two models")
                self._by_name[name] = model

    @classmethod
    def load(cls, path: Path) -> "Catalog":
        """Read models.toml. Raises CatalogError with a sentence if it is missing or malformed."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CatalogError(f"{path} does not exist; set MODELS_FILE") from error
        except OSError as error:
            raise CatalogError(f"{path} cannot be read: {error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogError(f"{path} is not TOML: {error}") from error
        entries = document.get("model", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise CatalogError(f"{path}: begin each model with [[model]]")
        return cls(CatalogModel.from_json(entry) for entry in entries)

    def get(self, name: str) -> CatalogModel | None:
        """The model with this id or alias."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[CatalogModel]:
        return iter(self._models)


@dataclass(frozen=True, slots=True)
class FineTunedModelName:
    """`ft:{base}:{organization}:{suffix}:{tag}`, and `:ckpt-step-N` behind it for a checkpoint."""

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
        """The parts of `text`, or None if it is no tuned model's name."""
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
