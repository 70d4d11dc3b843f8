"""Prices of the operator's choice (`LUTHIER_PRICES_FILE`): what a million tokens cost."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.catalog import FineTunedModelName

# The entry of all models that have none of their own.
ANY_MODEL = "*"
PRICED_TOKENS = 1_000_000


class LineItem(StrEnum):
    """Subject of a price, as the second part of a cost's `line_item`."""

    INPUT = "input_tokens"
    CACHED_INPUT = "cached_input_tokens"
    OUTPUT = "output_tokens"
    BATCH_INPUT = "batch_input_tokens"
    BATCH_CACHED_INPUT = "batch_cached_input_tokens"
    BATCH_OUTPUT = "batch_output_tokens"
    TRAINING = "training_tokens"


class InvalidPrices(ValueError):
    """The file of prices cannot be used; the message says why."""


class _Price(BaseModel):
    """Prices of a million tokens; cached input costs what other input does unless it is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ANY_MODEL
    input: Decimal = Field(Decimal(0), ge=0)
    cached_input: Decimal | None = Field(None, ge=0)
    output: Decimal = Field(Decimal(0), ge=0)
    training: Decimal = Field(Decimal(0), ge=0)
    # Factor of the prices of batches.
    batch: Decimal = Field(Decimal(1), ge=0)

    def of(self, item: LineItem) -> Decimal:
        cached = self.input if self.cached_input is None else self.cached_input
        return {
            LineItem.INPUT: self.input,
            LineItem.CACHED_INPUT: cached,
            LineItem.OUTPUT: self.output,
            LineItem.BATCH_INPUT: self.input * self.batch,
            LineItem.BATCH_CACHED_INPUT: cached * self.batch,
            LineItem.BATCH_OUTPUT: self.output * self.batch,
            LineItem.TRAINING: self.training,
        }[item]


class _PricesFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    currency: str = Field("usd", pattern=r"^[a-z]{3}$")
    price: list[_Price] = []

    @model_validator(mode="after")
    def _reject_duplicates(self) -> "_PricesFile":
        models = [price.model for price in self.price]
        if duplicates := {model for model in models if models.count(model) > 1}:
            raise ValueError(f"two prices of the model {min(duplicates)!r}")
        return self


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by model; everything costs nothing without an entry."""

    currency: str
    by_model: dict[str, _Price]

    @classmethod
    def load(cls, path: Path | None) -> "Prices":
        """Read the operator's file; without one everything costs nothing. Raises InvalidPrices."""
        if path is None:
            return cls("usd", {})
        try:
            file = _PricesFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise InvalidPrices(f"LUTHIER_PRICES_FILE={path}: {error}") from error
        return cls(file.currency, {price.model: price for price in file.price})

    def cost(self, model: str, item: LineItem, tokens: int) -> Decimal:
        """Cost of tokens: by the entry of the model, else of its base model, else of any model."""
        tuned = FineTunedModelName.parse(model)
        for name in (model, tuned.base if tuned else model, ANY_MODEL):
            if name in self.by_model:
                return self.by_model[name].of(item) * tokens / PRICED_TOKENS
        return Decimal(0)
