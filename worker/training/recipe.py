"""From a job's hyperparameters, where "auto" may stand, to numbers. The rules are written here.

n_epochs                  3 passes; more for files under 34 examples (at most 25), one pass less
                          often for very large files. The rule of OpenAI's cookbook.
batch_size                0.2 % of the examples as at OpenAI, but up to 8 where that leaves 40
                          steps: small files are learned as well so, in half the time
learning_rate_multiplier  1
learning rate             5e-4 · (2000 / hidden size)^0.781 · multiplier, warmed up over the first
                          5 % of steps, then falling along a half cosine to a tenth. The formula is
                          the one Thinking Machines fitted for LoRA on Llamas (tinker-cookbook); it
                          gives 1.3e-3 for SmolLM2-135M and 2.9e-4 for an 8B model
preferences               a tenth of that learning rate: a preference is learned from few bits
                          a pair, and larger steps make both answers unlikely. beta is 0.1, as in
                          the paper's experiments and OpenAI's examples
LoRA                      rank 16, alpha 32, no dropout, on all linear layers but the head
optimizer                 AdamW, betas 0.9 and 0.999, no weight decay, gradients clipped to norm 1
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

TARGET_EPOCHS = 3
FEWEST_SEEN = 100
MOST_SEEN = 25_000
MOST_EPOCHS = 25

FEWEST_STEPS = 40
SMALL_BATCH = 8
LARGEST_BATCH = 256

LEARNING_RATE = 5e-4
LEARNING_RATE_HIDDEN_SIZE = 2000
LEARNING_RATE_POWER = 0.781
WARM_UP = 0.05
FINAL_SHARE = 0.1

PREFERENCE_SHARE = 0.1
BETA = 0.1

LORA_RANK = 16
LORA_ALPHA = 32
CLIP_NORM = 1.0
BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of one job."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    peak: float
    # What else was chosen, to be told to the job's owner.
    others: Mapping[str, Any] = field(default_factory=dict)

    def learning_rate(self, step: int, total: int) -> float:
        """For optimizer step `step` of 1 to `total`."""
        peak = self.peak * self.learning_rate_multiplier
        warm = max(1, round(total * WARM_UP))
        if step <= warm:
            return peak * step / warm
        done = (step - warm) / max(1, total - warm)
        falling = (1 + math.cos(math.pi * done)) / 2
        return peak * (FINAL_SHARE + (1 - FINAL_SHARE) * falling)


def choose(hyperparameters: Mapping[str, Any], *, examples: int, hidden_size: int) -> Recipe:
    """Numbers for a training file of so many examples, and a model of that width."""
    n_epochs = int(_given(hyperparameters, "n_epochs") or auto_epochs(examples))
    batch_size = int(_given(hyperparameters, "batch_size") or auto_batch_size(examples, n_epochs))
    return Recipe(
        n_epochs=n_epochs,
        batch_size=min(batch_size, examples),
        learning_rate_multiplier=float(_given(hyperparameters, "learning_rate_multiplier") or 1.0),
        peak=peak_learning_rate(hidden_size),
    )


def choose_for_preferences(
    hyperparameters: Mapping[str, Any], *, examples: int, hidden_size: int
) -> Recipe:
    """The same for pairs of answers, with `beta` among the others."""
    recipe = choose(hyperparameters, examples=examples, hidden_size=hidden_size)
    beta = float(_given(hyperparameters, "beta") or BETA)
    return replace(recipe, peak=recipe.peak * PREFERENCE_SHARE, others={"beta": beta})


def _given(hyperparameters: Mapping[str, Any], name: str) -> Any:
    value = hyperparameters.get(name)
    return None if value == "auto" else value


def auto_epochs(examples: int) -> int:
    if examples * TARGET_EPOCHS < FEWEST_SEEN:
        return min(MOST_EPOCHS, FEWEST_SEEN // examples)
    if examples * TARGET_EPOCHS > MOST_SEEN:
        return max(1, MOST_SEEN // examples)
    return TARGET_EPOCHS


def auto_batch_size(examples: int, n_epochs: int) -> int:
    by_share = round(examples * 0.002)
    by_steps = min(SMALL_BATCH, examples * n_epochs // FEWEST_STEPS)
    return min(LARGEST_BATCH, max(1, by_share, by_steps))


def peak_learning_rate(hidden_size: int) -> float:
    """Wider models take smaller steps."""
    return float(LEARNING_RATE * (LEARNING_RATE_HIDDEN_SIZE / hidden_size) ** LEARNING_RATE_POWER)
