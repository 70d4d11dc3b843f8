"""Resolves "auto" hyperparameters of chat and preference jobs. The rules, and their sources:

n_epochs                  3; more for files under 34 examples (at most 25), fewer for files over
                          8,333 examples. The rule of OpenAI's cookbook.
batch_size                0.2 % of the examples, as OpenAI does, but up to 8 if that leaves 40
                          steps: small files are learned equally well, in half the time. With
                          packing, of the packed sequences, which it counts
learning_rate_multiplier  1
learning rate             see `learning_rates`
DPO                       a tenth of that learning rate: a pair carries few bits of preference, and
                          larger steps make both answers unlikely. beta is 0.1, as in the paper's
                          experiments and OpenAI's examples
lr_schedule               cosine to a tenth, after a linear warmup over the first 5 % of steps
LoRA                      rank 16, alpha 32, no dropout, on all linear layers except the head. Alpha
                          stays 32 for other ranks: the best learning rate is then the same for all
                          of them ("LoRA Without Regret", Thinking Machines 2025)
optimizer                 AdamW, betas 0.9 and 0.999, no weight decay, gradients clipped to norm 1
long_rows                 truncate; drop for DPO, whose truncated pairs say something else
keep                      best, if there is a validation file
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from app.recipes.learning_rates import lora_learning_rate

TARGET_EPOCHS = 3
MIN_EXAMPLES_SEEN = 100
MAX_EXAMPLES_SEEN = 25_000
MAX_EPOCHS = 25

MIN_STEPS = 40
SMALL_FILE_BATCH_SIZE = 8
MAX_BATCH_SIZE = 256

WARMUP_RATIO = 0.05
MIN_LEARNING_RATE_RATIO = 0.1

DPO_LEARNING_RATE_RATIO = 0.1
DPO_BETA = 0.1

LORA_RANK = 16
LORA_ALPHA = 32
ALL_LINEAR = "all-linear"
MAX_GRAD_NORM = 1.0
# Tokens of a forward pass on a CPU.
CPU_MICRO_BATCH_TOKENS = 1024
ADAM_BETAS = (0.9, 0.999)


class BaseQuantization(StrEnum):
    """Format of the base model's weights while an adapter is trained."""

    NONE = "none"
    NF4 = "nf4"


SHARDED_QUANTIZATION = (
    "This service divides base models among GPUs, and weights in 4 bits cannot be divided. Omit "
    "quantization."
)
# 4 bits, and a scale of two bytes per block of 64.
NF4_BYTES_PER_WEIGHT = 0.5 + 2 / 64

# Hyperparameters that switch something on, and the values that switch it off.
OFF: Mapping[str, Any] = {
    "label_smoothing": 0.0,
    "neftune_alpha": 0.0,
    "packing": False,
    # Switched on for a job that has run out of memory with one row at a time.
    "gradient_checkpointing": False,
    "quantization": BaseQuantization.NONE.value,
}


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Shape of an adapter. `target_modules` are names of linear layers, or "all-linear"."""

    rank: int = LORA_RANK
    alpha: float = LORA_ALPHA
    dropout: float = 0.0
    target_modules: tuple[str, ...] | str = ALL_LINEAR

    def report(self) -> dict[str, Any]:
        """The settings as hyperparameters."""
        modules = self.target_modules
        return {
            "lora_rank": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": modules if isinstance(modules, str) else list(modules),
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """Resolved hyperparameters of one job."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    base_learning_rate: float
    lr_schedule: str = "cosine"
    warmup_ratio: float = WARMUP_RATIO
    weight_decay: float = 0.0
    max_grad_norm: float = MAX_GRAD_NORM
    # Further resolved hyperparameters, reported to the job's owner.
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def peak_learning_rate(self) -> float:
        return self.base_learning_rate * self.learning_rate_multiplier

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate of optimizer step `step`, from 1 to `total`."""
        # Without a warmup the first step is at the peak, like the last one of a warmup.
        warmup_steps = max(1, round(total * self.warmup_ratio))
        if step <= warmup_steps:
            return self.peak_learning_rate * step / warmup_steps
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        return self.peak_learning_rate * self._decay(progress)

    def _decay(self, progress: float) -> float:
        """Share of the peak that is left when `progress` of the steps after the warmup are done."""
        match self.lr_schedule:
            case "constant":
                return 1.0
            case "linear":
                return 1.0 - progress
            case _:
                cosine = (1 + math.cos(math.pi * progress)) / 2
                return MIN_LEARNING_RATE_RATIO + (1 - MIN_LEARNING_RATE_RATIO) * cosine

    def report(self) -> dict[str, Any]:
        """All values as the job shows them."""
        return {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "learning_rate": self.peak_learning_rate,
            "base_learning_rate": self.base_learning_rate,
            "lr_schedule": self.lr_schedule,
            "warmup_ratio": self.warmup_ratio,
            "weight_decay": self.weight_decay,
            "max_grad_norm": self.max_grad_norm,
            **self.extra,
        }


def choose_recipe(
    hyperparameters: Mapping[str, Any],
    *,
    examples: int,
    packs: int | None = None,
    hidden_size: int,
    model_type: str,
) -> Recipe:
    """Resolve the hyperparameters for a file of `examples` and a model's shape.

    With packing, they fill the sequences of `packs`, of which batches consist.
    A job that resumes has the values of its first attempt, `base_learning_rate` among them.
    """
    explicit = drop_auto(hyperparameters)
    n_epochs = int(explicit.get("n_epochs") or auto_epochs(examples))
    rows = examples if packs is None else packs
    auto_size = auto_batch_size(rows, n_epochs)
    batch_size = min(int(explicit.get("batch_size") or auto_size), rows)
    return Recipe(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=float(explicit.get("learning_rate_multiplier") or 1.0),
        base_learning_rate=explicit.get("base_learning_rate")
        or lora_learning_rate(model_type, hidden_size),
        extra={name: explicit.get(name, off) for name, off in OFF.items()},
        **choose_optimizer_settings(explicit),
    )


def choose_dpo_recipe(hyperparameters: Mapping[str, Any], **shape: Any) -> Recipe:
    """Resolve the hyperparameters of a DPO job, with `beta` among the extra ones.

    `shape` is that of `choose_recipe`.
    """
    recipe = choose_recipe(hyperparameters, **shape)
    explicit = drop_auto(hyperparameters)
    extra = {name: value for name, value in recipe.extra.items() if name != "packing"}
    # An earlier attempt's rate already is that of DPO.
    ratio = 1.0 if "base_learning_rate" in explicit else DPO_LEARNING_RATE_RATIO
    return replace(
        recipe,
        base_learning_rate=recipe.base_learning_rate * ratio,
        extra={**extra, "beta": float(explicit.get("beta") or DPO_BETA)},
    )


def choose_optimizer_settings(explicit: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values of `Recipe`'s optimizer fields that were requested."""
    names = ("lr_schedule", "warmup_ratio", "weight_decay", "max_grad_norm")
    return {name: explicit[name] for name in names if name in explicit}


def choose_lora_settings(hyperparameters: Mapping[str, Any]) -> LoraSettings:
    """Resolve the shape of a new adapter."""
    explicit = drop_auto(hyperparameters)
    modules = explicit.get("target_modules", ALL_LINEAR)
    alpha = float(explicit.get("lora_alpha", LORA_ALPHA))
    return LoraSettings(
        rank=int(explicit.get("lora_rank", LORA_RANK)),
        # PEFT's own configs have a whole number.
        alpha=int(alpha) if alpha.is_integer() else alpha,
        dropout=float(explicit.get("lora_dropout", 0.0)),
        target_modules=modules if isinstance(modules, str) else tuple(modules),
    )


def drop_auto(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the values that were requested."""
    return {name: v for name, v in hyperparameters.items() if v is not None and v != "auto"}


def auto_epochs(examples: int) -> int:
    if examples * TARGET_EPOCHS < MIN_EXAMPLES_SEEN:
        return min(MAX_EPOCHS, MIN_EXAMPLES_SEEN // examples)
    if examples * TARGET_EPOCHS > MAX_EXAMPLES_SEEN:
        return max(1, MAX_EXAMPLES_SEEN // examples)
    return TARGET_EPOCHS


def auto_batch_size(examples: int, n_epochs: int) -> int:
    by_ratio = round(examples * 0.002)
    by_steps = min(SMALL_FILE_BATCH_SIZE, examples * n_epochs // MIN_STEPS)
    return min(MAX_BATCH_SIZE, max(1, by_ratio, by_steps))
