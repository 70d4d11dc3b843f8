"""What a tuned encoder is for, as it is written beside its weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from worker.modeling import ADAPTER_CONFIG_FILE

Method = Literal["classification", "token_classification", "question_answering", "embedding"]
Tuning = Literal["lora", "full"]
Pooling = Literal["mean", "last"]
METHODS: tuple[Method, ...] = (
    "classification",
    "token_classification",
    "question_answering",
    "embedding",
)
# Where it stands in adapter_config.json; PEFT passes over keys that it does not know.
TASK_CONFIG_KEY = "luthier_task"


class MissingTask(ValueError):
    """The adapter was not made for a task of encoders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTask:
    """`labels` name the head's outputs, in their order; an embedding has none.

    many      several labels may apply to one text, or none
    tuning    "lora": an adapter of the backbone; "full": all its layers
    pooling   what becomes a text's vector: the mean of its tokens' hidden states, or the last
              token's, which in a causal model alone has seen all others
    length    tokens of a text that are read, special ones included
    familiar  the tokens of the training file, as `familiarity.Familiar` writes them
    """

    method: Method
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    tuning: Tuning = "lora"
    pooling: Pooling = "mean"
    max_length: int = 512
    vocab_coverage: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EncoderTask":
        return cls(**{**values, "labels": tuple(values["labels"])})


def has_task(folder: Path) -> bool:
    """Whether the adapter in `folder` was made for a task. Raises OSError, ValueError."""
    return TASK_CONFIG_KEY in json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())


def read_task(folder: Path) -> EncoderTask:
    """The task of the adapter in `folder`. Raises OSError, NoTask."""
    config = json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())
    if TASK_CONFIG_KEY not in config:
        raise MissingTask("The adapter names no task of encoders.")
    return EncoderTask.from_json(config[TASK_CONFIG_KEY])
