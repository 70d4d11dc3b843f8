"""The task of a fine-tuned encoder, stored in its adapter_config.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.recipes.encoders import Method as Method
from app.recipes.encoders import Tuning as Tuning
from worker.encoding.pooling import Pooling
from worker.encoding.segmentation import Segmentation
from worker.modeling import ADAPTER_CONFIG_FILE

# Key of the task in adapter_config.json. PEFT ignores unknown keys.
TASK_CONFIG_KEY = "luthier_task"
# Keys in files written before 0.1.0, and their present names.
OLD_KEYS = {"many": "multi_label", "length": "max_length", "familiar": "vocab_coverage"}


class MissingTask(ValueError):
    """The adapter's config has no encoder task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTask:
    """Method, labels and preprocessing of a fine-tuned encoder.

    labels           names of the head's outputs, in order; empty for embeddings
    multi_label      classification: any number of labels may apply to a text
    allow_no_answer  question answering: a question may have no answer in its context
    tuning           "lora": an adapter on the backbone; "full": all of its layers
    pooling          how token states become a text's vector: their mean, the first one ([CLS]), or
                     the last one, which in a causal model alone attends to all others
    max_length       tokens that are read of a text, including special ones
    vocab_coverage   token ids of the training file, from `VocabCoverage.to_base64`
    segmentation     units of a text whose boundaries entities and answers have
    """

    method: Method
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    allow_no_answer: bool = False
    tuning: Tuning = "lora"
    pooling: Pooling = "mean"
    max_length: int = 512
    vocab_coverage: str = ""
    # Models without this key were made by versions that served every text by its words.
    segmentation: Segmentation = Segmentation.WORDS

    def to_json(self) -> dict[str, Any]:
        """Return the task's values; `segmentation` only if earlier versions would not read it
        right, so that they serve all other models too."""
        values = asdict(self)
        if self.segmentation == Segmentation.WORDS:
            del values["segmentation"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EncoderTask":
        """Parse the output of `to_json`, also of versions before 0.1.0, which had other keys."""
        fields = {OLD_KEYS.get(key, key): value for key, value in values.items()}
        if "many" in values and values["method"] == "question_answering":
            fields["allow_no_answer"] = fields.pop("multi_label")
        segmentation = Segmentation(fields.get("segmentation", Segmentation.WORDS))
        labels = tuple(fields["labels"])
        return cls(**{**fields, "labels": labels, "segmentation": segmentation})


def has_task(folder: Path) -> bool:
    """True if the adapter in `folder` is an encoder's. Raises OSError and ValueError."""
    return TASK_CONFIG_KEY in json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())


def read_task(folder: Path) -> EncoderTask:
    """Read the task of the adapter in `folder`. Raises OSError and MissingTask."""
    config = json.loads((folder / ADAPTER_CONFIG_FILE).read_bytes())
    if TASK_CONFIG_KEY not in config:
        raise MissingTask("The adapter's config has no encoder task.")
    return EncoderTask.from_json(config[TASK_CONFIG_KEY])
