"""Base models, their aliases, and the grammar of tuned models' names. Read by every process."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["causal", "encoder"]

MODEL_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")
TUNED_NAME = re.compile(
    r"^ft:(?P<base>[^:]+):(?P<organization>[a-z0-9-]+):(?P<suffix>[^:]*):(?P<tag>[A-Za-z0-9]{8})"
    r"(?::ckpt-step-(?P<step>[0-9]+))?$"
)


class CatalogError(ValueError):
    """models.toml is not usable; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One entry of models.toml. `context_length` is in tokens."""

    id: str
    source: str
    kind: Kind
    methods: tuple[str, ...]
    context_length: int
    aliases: tuple[str, ...] = ()
    engine: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a run folder's spec carries them."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "BaseModel":
        """The inverse of `to_json`, and what one table of models.toml becomes.

        Raises CatalogError if a field is missing, unknown or of the wrong kind.
        """
        where = f"model {values.get('id', '?')!r}"
        try:
            model = cls(
                **{
                    **values,
                    "methods": tuple(values["methods"]),
                    "aliases": tuple(values.get("aliases", ())),
                }
            )
        except (KeyError, TypeError) as error:
            raise CatalogError(f"{where}: {error}") from error
        for name in (model.id, *model.aliases):
            if not MODEL_ID.match(name):
                raise CatalogError(f"{where}: {name!r} is no model id (letters, digits, . _ / -)")
        if model.kind not in ("causal", "encoder"):
            raise CatalogError(f"{where}: kind must be 'causal' or 'encoder', not {model.kind!r}")
        if not isinstance(model.context_length, int) or model.context_length < 1:
            raise CatalogError(f"{where}: context_length must be a positive number of tokens")
        return model


class Catalog:
    """The base models by id and alias. Raises CatalogError if a name stands for two models."""

    def __init__(self, models: Iterable[BaseModel]) -> None:
        self._models = tuple(models)
        self._by_name: dict[str, BaseModel] = {}
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
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogError(f"{path} is not TOML: {error}") from error
        return cls(BaseModel.from_json(entry) for entry in document.get("model", []))

    def get(self, name: str) -> BaseModel | None:
        """The model with this id or alias."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[BaseModel]:
        return iter(self._models)


@dataclass(frozen=True, slots=True)
class TunedName:
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
    def parse(cls, text: str) -> "TunedName | None":
        """The parts of `text`, or None if it is no tuned model's name."""
        match = TUNED_NAME.match(text)
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
