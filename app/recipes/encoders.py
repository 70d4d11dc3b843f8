"""Resolves "auto" hyperparameters of encoder jobs. The rules:

n_epochs        classification 3, token classification 3, question answering 4, embeddings 2; fewer
                if that exceeds 60,000 examples; more for small files, up to 2,000 examples in all,
                at most 25 epochs
batch_size      32; 64 for embeddings, whose in-batch negatives it provides; less if an epoch would
                have fewer than 15 steps, but at least 8
learning rate   lora: that of a Llama of the same width, 1.8e-3 for MiniLM-L6, less for wider
                models, or of a Qwen for Qwens; full: 3e-4, divided by the square of the width
                relative to MiniLM's, 7.5e-5 for BERT-base. Half of that except for classification.
                Same warmup and schedule as for chat models
weight decay    full: 0.01 on matrices, not on norms and biases, as in BERT's own fine-tuning
                (google-research/bert, optimization.py); lora: none
tuning          full for token classification and question answering, whose token states must move
                far from those of a sentence encoder; otherwise lora with rank 16 and alpha 32 on
                all linear layers. Both train a new head
long_rows       truncate, as the served model does
keep            best, if there is a validation file
"""

from collections.abc import Mapping
from typing import Any, Literal

from app.recipes.chat import Recipe, choose_optimizer_settings, drop_auto
from app.recipes.learning_rates import LLAMA_EXPONENT, compute_rate, lora_learning_rate

Method = Literal["classification", "token_classification", "question_answering", "embedding"]
Tuning = Literal["lora", "full"]

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
WEIGHT_DECAY: Mapping[Tuning, float] = {"lora": 0.0, "full": 0.01}
# Tokens of a forward pass on a CPU, for a model of MiniLM-L6's size (layers · width), and the
# fewest for one of any size.
ENCODER_CPU_MICRO_BATCH_TOKENS = 4096
REFERENCE_MODEL_SIZE = 6 * 384
MIN_MICRO_BATCH_TOKENS = 512
EXTRA_HYPERPARAMETERS = (
    "full",
    "class_weights",
    "early_stopping_patience",
    "max_length",
    "max_seq_length",
    "label_smoothing",
)


def choose_encoder_recipe(
    method: Method,
    hyperparameters: Mapping[str, Any],
    *,
    examples: int,
    hidden_size: int,
    model_type: str,
) -> Recipe:
    """Resolve the hyperparameters for a file of `examples` and a model of `hidden_size`.

    A job that resumes has the values of its first attempt, `base_learning_rate` among them.
    """
    explicit = drop_auto(hyperparameters)
    tuning: Tuning = explicit.get("tuning", TUNING[method])
    batch_size = min(int(explicit.get("batch_size") or auto_batch_size(method, examples)), examples)
    return Recipe(
        n_epochs=int(explicit.get("n_epochs") or auto_epochs(method, examples)),
        batch_size=batch_size,
        learning_rate_multiplier=float(explicit.get("learning_rate_multiplier") or 1.0),
        base_learning_rate=explicit.get("base_learning_rate")
        or _base_learning_rate(method, tuning, hidden_size, model_type),
        **{"weight_decay": WEIGHT_DECAY[tuning], **choose_optimizer_settings(explicit)},
        extra={
            "tuning": tuning,
            "long_rows": explicit.get("long_rows", "truncate"),
            **{name: explicit[name] for name in EXTRA_HYPERPARAMETERS if name in explicit},
        },
    )


def _base_learning_rate(method: Method, tuning: Tuning, hidden_size: int, model_type: str) -> float:
    rate = _classification_learning_rate(tuning, hidden_size, model_type)
    return rate / 2 if method in HALF_LEARNING_RATE_METHODS else rate


def _classification_learning_rate(tuning: Tuning, hidden_size: int, model_type: str) -> float:
    if tuning == "lora" and model_type.startswith("qwen"):
        return lora_learning_rate(model_type, hidden_size)
    if tuning == "lora":
        return compute_rate(hidden_size, LLAMA_EXPONENT)
    return FULL_TUNING_LEARNING_RATE * min(1.0, FULL_TUNING_HIDDEN_SIZE / hidden_size) ** 2


def auto_epochs(method: Method, examples: int) -> int:
    default = EPOCHS[method]
    if examples * default < MIN_EXAMPLES_SEEN:
        return min(MAX_EPOCHS, MIN_EXAMPLES_SEEN // examples)
    return max(1, min(default, MAX_EXAMPLES_SEEN // examples))


def auto_batch_size(method: Method, examples: int) -> int:
    default = EMBEDDING_BATCH_SIZE if method == "embedding" else BATCH_SIZE
    return max(MIN_BATCH_SIZE, min(default, examples // MIN_STEPS_PER_EPOCH))


def scale_micro_batch_tokens(tokens: int, *, num_layers: int, hidden_size: int) -> int:
    """Scale the tokens of a micro-batch for MiniLM-L6 to those for a model of another size.

    Larger models get fewer: they keep more activations per token for the backward pass.
    """
    size = max(REFERENCE_MODEL_SIZE, num_layers * hidden_size)
    return max(MIN_MICRO_BATCH_TOKENS, tokens * REFERENCE_MODEL_SIZE // size)
