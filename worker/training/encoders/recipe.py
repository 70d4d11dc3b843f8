"""The numbers of encoders' jobs, by written rules.

n_epochs        classification 3, entities 3, questions 4, embeddings 2; no pass begins after
                60,000 examples, and small files get as many as make 2,000, at most 25
batch_size      32; 64 for embeddings, whose batches are what a text is told apart from;
                less where a pass would have fewer than 15 steps, but 8 at least
learning rate   lora as for chat models: 1.8e-3 for MiniLM-L6, less for wider ones; full 3e-4, and
                above MiniLM's width less by its square: 7.5e-5 for BERT-base. Half of it but for
                classification. Warmed up and falling like that of chat models
tuning          full for entities and answers, whose tokens must move far from what a sentence
                encoder makes of them; else lora: rank 16, alpha 32, on all linear layers. Either
                with a head of its own
"""

from collections.abc import Mapping
from typing import Any

from worker.encoding.task import Method, Tuning
from worker.training.recipe import Recipe, lora_learning_rate

EPOCHS: Mapping[Method, int] = {
    "classification": 3,
    "token_classification": 3,
    "question_answering": 4,
    "embedding": 2,
}
MIN_EXAMPLES_SEEN = 2_000
MAX_EXAMPLES_SEEN = 60_000
MAX_EPOCHS = 25
BATCH_SIZE = 32
EMBEDDING_BATCH_SIZE = 64
MIN_BATCH_SIZE = 8
MIN_STEPS_PER_EPOCH = 15
FULL_TUNING_LEARNING_RATE = 3e-4
FULL_TUNING_HIDDEN_SIZE = 384
TUNING: Mapping[Method, Tuning] = {
    "classification": "lora",
    "token_classification": "full",
    "question_answering": "full",
    "embedding": "lora",
}
HALF_LEARNING_RATE_METHODS: tuple[Method, ...] = (
    "token_classification",
    "question_answering",
    "embedding",
)
# Full fine-tuning moves weights that were good before: decay keeps them near.
WEIGHT_DECAY: Mapping[Tuning, float] = {"lora": 0.0, "full": 0.01}
EXTRA_HYPERPARAMETERS = ("tuning", "class_weights", "early_stopping_patience", "max_length")


def choose_encoder_recipe(
    method: Method, hyperparameters: Mapping[str, Any], *, examples: int, hidden_size: int
) -> Recipe:
    """Numbers for a training file of so many examples, and a model of that width."""
    given = {name: value for name, value in hyperparameters.items() if value not in ("auto", None)}
    tuning: Tuning = given.get("tuning", TUNING[method])
    batch_size = min(int(given.get("batch_size") or auto_batch_size(method, examples)), examples)
    return Recipe(
        n_epochs=int(given.get("n_epochs") or auto_epochs(method, examples)),
        batch_size=batch_size,
        learning_rate_multiplier=float(given.get("learning_rate_multiplier") or 1.0),
        base_learning_rate=_base_learning_rate(tuning, hidden_size)
        / (2 if method in HALF_LEARNING_RATE_METHODS else 1),
        extra={
            "tuning": tuning,
            **{name: given[name] for name in EXTRA_HYPERPARAMETERS if name in given},
        },
    )


def _base_learning_rate(tuning: Tuning, hidden_size: int) -> float:
    if tuning == "lora":
        return lora_learning_rate(hidden_size)
    return FULL_TUNING_LEARNING_RATE * min(1.0, FULL_TUNING_HIDDEN_SIZE / hidden_size) ** 2


def auto_epochs(method: Method, examples: int) -> int:
    usual = EPOCHS[method]
    if examples * usual < MIN_EXAMPLES_SEEN:
        return min(MAX_EPOCHS, MIN_EXAMPLES_SEEN // examples)
    return max(1, min(usual, MAX_EXAMPLES_SEEN // examples))


def auto_batch_size(method: Method, examples: int) -> int:
    usual = EMBEDDING_BATCH_SIZE if method == "embedding" else BATCH_SIZE
    return max(MIN_BATCH_SIZE, min(usual, examples // MIN_STEPS_PER_EPOCH))
