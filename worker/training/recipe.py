"""Resolves "auto" hyperparameters of chat and preference jobs. The rules:

n_epochs                  3; more for files under 34 examples (at most 25), fewer for files over
                          8,333 examples. The rule of OpenAI's cookbook.
batch_size                0.2 % of the examples, as OpenAI does, but up to 8 if that leaves 40
                          steps: small files are learned equally well, in half the time
learning_rate_multiplier  1
learning rate             5e-4 · (2000 / hidden size)^0.781 · multiplier: linear warmup over the
                          first 5 % of steps, then cosine decay to a tenth. Thinking Machines fitted
                          the formula for LoRA on Llamas (tinker-cookbook); it gives 1.3e-3 for
                          SmolLM2-135M and 2.9e-4 for an 8B model
DPO                       a tenth of that learning rate: a pair carries few bits of preference, and
                          larger steps make both answers unlikely. beta is 0.1, as in the paper's
                          experiments and OpenAI's examples
LoRA                      rank 16, alpha 32, no dropout, on all linear layers except the head
optimizer                 AdamW, betas 0.9 and 0.999, no weight decay, gradients clipped to norm 1
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

TARGET_EPOCHS = 3
MIN_EXAMPLES_SEEN = 100
MAX_EXAMPLES_SEEN = 25_000
MAX_EPOCHS = 25

MIN_STEPS = 40
SMALL_FILE_BATCH_SIZE = 8
MAX_BATCH_SIZE = 256

LEARNING_RATE = 5e-4
LEARNING_RATE_HIDDEN_SIZE = 2000
LEARNING_RATE_EXPONENT = 0.781
WARMUP_RATIO = 0.05
MIN_LEARNING_RATE_RATIO = 0.1

DPO_LEARNING_RATE_RATIO = 0.1
DPO_BETA = 0.1

LORA_RANK = 16
LORA_ALPHA = 32
MAX_GRAD_NORM = 1.0
ADAM_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Resolved hyperparameters of one job."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    base_learning_rate: float
    # Further resolved hyperparameters, reported to the job's owner.
    extra: Mapping[str, Any] = field(default_factory=dict)

    def learning_rate(self, step: int, total: int) -> float:
        """Learning rate of optimizer step `step`, from 1 to `total`."""
        peak_rate = self.base_learning_rate * self.learning_rate_multiplier
        warmup_steps = max(1, round(total * WARMUP_RATIO))
        if step <= warmup_steps:
            return peak_rate * step / warmup_steps
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return peak_rate * (MIN_LEARNING_RATE_RATIO + (1 - MIN_LEARNING_RATE_RATIO) * cosine)


def choose_recipe(hyperparameters: Mapping[str, Any], *, examples: int, hidden_size: int) -> Recipe:
    """Resolve the hyperparameters for a file of `examples` and a model of `hidden_size`."""
    n_epochs = int(_explicit_value(hyperparameters, "n_epochs") or auto_epochs(examples))
    batch_size = int(
        _explicit_value(hyperparameters, "batch_size") or auto_batch_size(examples, n_epochs)
    )
    return Recipe(
        n_epochs=n_epochs,
        batch_size=min(batch_size, examples),
        learning_rate_multiplier=float(
            _explicit_value(hyperparameters, "learning_rate_multiplier") or 1.0
        ),
        base_learning_rate=lora_learning_rate(hidden_size),
    )


def choose_dpo_recipe(
    hyperparameters: Mapping[str, Any], *, examples: int, hidden_size: int
) -> Recipe:
    """Resolve the hyperparameters of a DPO job, with `beta` among the extra ones."""
    recipe = choose_recipe(hyperparameters, examples=examples, hidden_size=hidden_size)
    beta = float(_explicit_value(hyperparameters, "beta") or DPO_BETA)
    return replace(
        recipe,
        base_learning_rate=recipe.base_learning_rate * DPO_LEARNING_RATE_RATIO,
        extra={"beta": beta},
    )


def _explicit_value(hyperparameters: Mapping[str, Any], name: str) -> Any:
    value = hyperparameters.get(name)
    return None if value == "auto" else value


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


def lora_learning_rate(hidden_size: int) -> float:
    """Base learning rate of LoRA training; wider models take smaller steps."""
    return float(
        LEARNING_RATE * (LEARNING_RATE_HIDDEN_SIZE / hidden_size) ** LEARNING_RATE_EXPONENT
    )
