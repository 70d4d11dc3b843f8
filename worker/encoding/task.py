"""What a tuned encoder is for, as it is written beside its weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from worker.modeling import ADAPTER_CONFIG

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
KEY = "luthier_task"


class NoTask(ValueError):
    """The adapter was not made for a task of encoders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
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
    many: bool = False
    tuning: Tuning = "lora"
    pooling: Pooling = "mean"
    length: int = 512
    familiar: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Task":
        return cls(**{**values, "labels": tuple(values["labels"])})


def has_task(folder: Path) -> bool:
    """Whether the adapter in `folder` was made for a task. Raises OSError, ValueError."""
    return KEY in json.loads((folder / ADAPTER_CONFIG).read_bytes())


def read_task(folder: Path) -> Task:
    """The task of the adapter in `folder`. Raises OSError, NoTask."""
    config = json.loads((folder / ADAPTER_CONFIG).read_bytes())
    if KEY not in config:
        raise NoTask("The adapter names no task of encoders.")
    return Task.from_json(config[KEY])
