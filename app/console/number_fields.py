"""Hyperparameters that the form of a new job offers, with what "auto" does.

A test compares the names with the API's own schemas.
"""

from dataclasses import dataclass
from enum import StrEnum

GENERATIVE = ("supervised", "dpo")
ENCODER = ("classification", "token_classification", "question_answering", "embedding")
ALL = GENERATIVE + ENCODER
SWITCH = ("true", "false")


class FieldKind(StrEnum):
    """Kind of a field's input, and the type of its value in a request."""

    WHOLE = "whole"
    NUMBER = "number"
    CHOICE = "choice"
    NAMES = "names"


@dataclass(frozen=True, slots=True)
class NumberField:
    """One hyperparameter. `auto` says what the service chooses where it is left empty."""

    name: str
    label: str
    kind: FieldKind
    auto: str
    methods: tuple[str, ...] = ALL
    choices: tuple[str, ...] = ()
    is_basic: bool = False

    def parse(self, text: str) -> object:
        """The value for a request; a text that is none goes as it is, for the API to refuse."""
        if self.choices == SWITCH and text in SWITCH:
            return text == "true"
        if self.kind == FieldKind.NAMES:
            names = [name.strip() for name in text.split(",") if name.strip()]
            return names if len(names) > 1 or not text.startswith("all") else text
        if self.kind in (FieldKind.WHOLE, FieldKind.NUMBER):
            return parse_number(text)
        return text


def parse_number(text: str) -> int | float | str:
    """The number for a request; a text that is none goes as it is, for the API to refuse."""
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        # JSON has no NaN and no infinity, and its writer takes integers of 64 bits at most.
        return number if abs(number) < 2**63 else text
    return text


def _whole(name: str, label: str, auto: str, methods: tuple[str, ...] = ALL) -> NumberField:
    return NumberField(name, label, FieldKind.WHOLE, auto, methods)


def _number(name: str, label: str, auto: str, methods: tuple[str, ...] = ALL) -> NumberField:
    return NumberField(name, label, FieldKind.NUMBER, auto, methods)


def _choice(
    name: str, label: str, auto: str, choices: tuple[str, ...], methods: tuple[str, ...] = ALL
) -> NumberField:
    return NumberField(name, label, FieldKind.CHOICE, auto, methods, choices)


FIELDS = (
    NumberField(
        "n_epochs",
        "Epochs",
        FieldKind.WHOLE,
        "few for large files, more for small ones",
        is_basic=True,
    ),
    NumberField(
        "batch_size",
        "Batch size",
        FieldKind.WHOLE,
        "grows with the number of examples",
        is_basic=True,
    ),
    NumberField(
        "learning_rate_multiplier",
        "Learning rate, times the usual one",
        FieldKind.NUMBER,
        "1, the usual rate of the method and the model",
        is_basic=True,
    ),
    _choice("tuning", "Weights to train", "by the method", ("lora", "full"), ENCODER),
    _whole("lora_rank", "LoRA rank", "16"),
    _number("lora_alpha", "LoRA alpha", "32"),
    _number("lora_dropout", "LoRA dropout", "none"),
    NumberField("target_modules", "Layers with an adapter", FieldKind.NAMES, "all linear layers"),
    _whole("max_seq_length", "Longest row, in tokens", "the model's own, as memory allows"),
    _choice("long_rows", "Longer rows", "cut, or left out for DPO", ("truncate", "drop", "error")),
    _choice("packing", "Several rows per sequence", "off", SWITCH, ("supervised",)),
    _number("beta", "DPO beta", "0.1", ("dpo",)),
    _choice("class_weights", "Class weights", "none", ("none", "balanced"), ENCODER),
    _number("label_smoothing", "Label smoothing", "none"),
    _number("weight_decay", "Weight decay", "by the method"),
    _number("warmup_ratio", "Warm-up, share of the steps", "short"),
    _choice("lr_schedule", "Learning rate schedule", "cosine", ("cosine", "linear", "constant")),
    _number("max_grad_norm", "Largest gradient norm", "1"),
    _number("neftune_alpha", "NEFTune alpha", "no noise", GENERATIVE),
    _choice(
        "gradient_checkpointing",
        "Save memory, take a third more time",
        "only where one row does not fit",
        SWITCH,
        GENERATIVE,
    ),
    _choice(
        "quantization",
        "Base model's weights in training",
        "in full",
        ("none", "nf4"),
        GENERATIVE,
    ),
    _whole("early_stopping_patience", "Stop early after epochs without a gain", "never"),
    _choice("keep", "Epoch to keep", "best, with a validation file", ("best", "last")),
)
BY_NAME = {field.name: field for field in FIELDS}


def list_fields(method: str) -> list[NumberField]:
    """List the fields of a method."""
    return [field for field in FIELDS if method in field.methods]
