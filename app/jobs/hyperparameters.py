"""Request schemas of fine-tuning methods and their hyperparameters."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict

from app.jobs.hyperparameter_values import (
    MODULE_NAMES,
    SWITCH,
    Auto,
    number_from_zero,
    one_of,
    positive_number,
    whole_number,
)
from app.recipes.chat import BaseQuantization

# Relative to the learning rate chosen for "auto". Far above it a job still succeeds, but its model
# predicts a uniform distribution.
MAX_LEARNING_RATE_MULTIPLIER = 100.0
MAX_LORA_RANK = 256
MIN_SEQUENCE_LENGTH = 16
# No base model's context is longer; the model's own is checked when the job is created.
MAX_SEQUENCE_LENGTH = 2**20


class Hyperparameters(BaseModel):
    """Hyperparameters of every method; "auto" leaves the choice to the service.

    Unknown names are kept, so that `option_checks` can say what to write instead.
    """

    model_config = ConfigDict(extra="allow")

    n_epochs: Annotated[int | Auto, whole_number(1, 50)] = "auto"
    batch_size: Annotated[int | Auto, whole_number(1, 256)] = "auto"
    learning_rate_multiplier: Annotated[
        float | Auto, positive_number(MAX_LEARNING_RATE_MULTIPLIER)
    ] = "auto"


class TuningHyperparameters(Hyperparameters):
    """Additional hyperparameters of all methods, an extension of OpenAI's API.

    full                     false: an adapter is trained, true: all weights, which encoders can;
                             those of causal models cannot be served yet
    lora_rank                rank of the adapter's matrices
    lora_alpha               the adapter's output is scaled by lora_alpha / lora_rank
    lora_dropout             share of an adapter's inputs that are set to 0 in a training step
    target_modules           linear layers that get an adapter: "all-linear", or their names
    weight_decay             AdamW's decoupled weight decay of the trained matrices
    warmup_ratio             share of the steps in which the learning rate rises from 0
    lr_schedule              learning rate after that: "cosine" to a tenth, "linear" to 0,
                             "constant"
    max_grad_norm            gradients are scaled down to this norm
    max_seq_length           tokens of the longest row
    long_rows                longer rows: "truncate" and learn the answers that fit, "drop" them,
                             or fail the job ("error")
    label_smoothing          supervised: probability spread over the vocabulary; DPO: share of the
                             pairs that are assumed to be in the wrong order (conservative DPO);
                             classification and tags: probability spread over the labels
    early_stopping_patience  epochs without a better result on the validation file before training
                             stops
    keep                     the epoch that becomes the model: "best" on the validation file, or
                             "last"
    """

    full: Annotated[bool | Auto, SWITCH] = "auto"
    lora_rank: Annotated[int | Auto, whole_number(1, MAX_LORA_RANK)] = "auto"
    lora_alpha: Annotated[float | Auto, positive_number(1024)] = "auto"
    lora_dropout: Annotated[float | Auto, number_from_zero(0.9)] = "auto"
    target_modules: Annotated[list[str] | str, MODULE_NAMES] = "auto"
    weight_decay: Annotated[float | Auto, number_from_zero(1)] = "auto"
    warmup_ratio: Annotated[float | Auto, number_from_zero(1)] = "auto"
    lr_schedule: Annotated[str, one_of("cosine", "linear", "constant")] = "auto"
    max_grad_norm: Annotated[float | Auto, positive_number(1000)] = "auto"
    max_seq_length: Annotated[
        int | Auto, whole_number(MIN_SEQUENCE_LENGTH, MAX_SEQUENCE_LENGTH)
    ] = "auto"
    long_rows: Annotated[str, one_of("truncate", "drop", "error")] = "auto"
    label_smoothing: Annotated[float | Auto, number_from_zero(0.4)] = "auto"
    early_stopping_patience: Annotated[int | Auto, whole_number(1, 50)] = "auto"
    keep: Annotated[str, one_of("best", "last")] = "auto"


class GenerativeHyperparameters(TuningHyperparameters):
    """Additional hyperparameters of causal models, an extension of OpenAI's API.

    neftune_alpha            scale of uniform noise on the embeddings of a training step (NEFTune)
    gradient_checkpointing   compute activations again in the backward pass instead of keeping them:
                             less memory, a third more time; "auto" does so if one row alone does
                             not fit
    quantization             the base model's weights in training: "none", or in 4 bits by "nf4"
                             (QLoRA); the trained model is served on the full weights
    """

    neftune_alpha: Annotated[float | Auto, number_from_zero(100)] = "auto"
    gradient_checkpointing: Annotated[bool | Auto, SWITCH] = "auto"
    quantization: Annotated[str, one_of(*BaseQuantization)] = "auto"


class SupervisedHyperparameters(GenerativeHyperparameters):
    """Supervised training. `packing` fills each sequence of a batch with several rows, up to
    max_seq_length tokens, which do not see each other; a batch then has batch_size sequences."""

    packing: Annotated[bool | Auto, SWITCH] = "auto"


class PreferenceHyperparameters(GenerativeHyperparameters):
    """DPO. `beta` weights the KL penalty: smaller values let the policy move further away from
    the starting model (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290)."""

    beta: Annotated[float | Auto, positive_number(2)] = "auto"


class EncoderHyperparameters(TuningHyperparameters):
    """Additional hyperparameters of encoder methods, an extension of OpenAI's API.

    tuning         "lora": an adapter and a head, "full": all layers but the embeddings; another
                   name of `full`
    class_weights  "balanced": weight labels by their inverse frequency
    max_length     tokens after which texts are truncated; "auto" is the model's maximum; another
                   name of `max_seq_length`
    """

    tuning: Literal["auto", "lora", "full"] = "auto"
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    max_length: Annotated[int | Auto, whole_number(MIN_SEQUENCE_LENGTH, MAX_SEQUENCE_LENGTH)] = (
        "auto"
    )


# A new job shows these only if they were requested: OpenAI's clients do not expect them.
EXTENSIONS = SupervisedHyperparameters.model_fields.keys() - Hyperparameters.model_fields.keys()
# Jobs of encoder methods have always shown this one.
ENCODER_EXTENSIONS = EXTENSIONS - {"early_stopping_patience"}


class MethodBlock(BaseModel):
    """Block of one method. Unknown names are kept, so that the job can report them."""

    model_config = ConfigDict(extra="allow")


class SupervisedMethod(MethodBlock):
    hyperparameters: SupervisedHyperparameters | None = None


class DpoMethod(MethodBlock):
    hyperparameters: PreferenceHyperparameters | None = None


class EncoderMethod(MethodBlock):
    hyperparameters: EncoderHyperparameters | None = None


HYPERPARAMETERS_BY_METHOD: Mapping[str, type[Hyperparameters]] = {
    "supervised": SupervisedHyperparameters,
    "dpo": PreferenceHyperparameters,
    "classification": EncoderHyperparameters,
    "token_classification": EncoderHyperparameters,
    "question_answering": EncoderHyperparameters,
    "embedding": EncoderHyperparameters,
}


MethodName = Literal[
    "supervised",
    "dpo",
    "reinforcement",
    "classification",
    "token_classification",
    "question_answering",
    "embedding",
]


class Method(BaseModel):
    """The training method. Blocks of other methods are ignored beside that of `type`; alone they
    are refused by `unknown_fields`."""

    model_config = ConfigDict(extra="allow")

    type: MethodName
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    classification: EncoderMethod | None = None
    token_classification: EncoderMethod | None = None
    question_answering: EncoderMethod | None = None
    embedding: EncoderMethod | None = None

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """The hyperparameters in the block named by `type`."""
        block: SupervisedMethod | DpoMethod | EncoderMethod | None = self.block
        return None if block is None else block.hyperparameters

    @property
    def block(self) -> SupervisedMethod | DpoMethod | EncoderMethod | None:
        """The block named by `type`. That of "reinforcement" is not known here."""
        block = getattr(self, self.type, None)
        return block if isinstance(block, SupervisedMethod | DpoMethod | EncoderMethod) else None


def validate_known(method: Method | None, values: Mapping[str, Any]) -> Hyperparameters:
    """Validate the values that the method knows; the missing ones become "auto".

    Raises pydantic's ValidationError.
    """
    schema = get_hyperparameters_class(method)
    return schema.model_validate({k: v for k, v in values.items() if k in schema.model_fields})


def merge(
    method: Method | None, top_level: Hyperparameters | None
) -> tuple[dict[str, Any], list[str]]:
    """Merge the hyperparameters of both blocks; return them and the names unknown to the method.

    The method's own block overrides `top_level`, which is deprecated but still sent by clients.
    """
    values: dict[str, Any] = {}
    for block in (top_level, method and method.hyperparameters):
        values |= {} if block is None else block.model_dump(exclude_unset=True)
    unknown = [
        name for name in values if name not in get_hyperparameters_class(method).model_fields
    ]
    chosen = validate_known(method, values).model_dump()
    is_generative = issubclass(get_hyperparameters_class(method), GenerativeHyperparameters)
    if not is_generative:
        _fill_own_names(chosen)
    hidden = EXTENSIONS if is_generative else ENCODER_EXTENSIONS
    return {k: v for k, v in chosen.items() if v != "auto" or k not in hidden}, unknown


def _fill_own_names(chosen: dict[str, Any]) -> None:
    """Give the encoders' own names the values of the names that all methods share."""
    if chosen.get("full", "auto") != "auto" and chosen["tuning"] == "auto":
        chosen["tuning"] = "full" if chosen["full"] else "lora"
    if chosen.get("max_seq_length", "auto") != "auto" and chosen["max_length"] == "auto":
        chosen["max_length"] = chosen["max_seq_length"]


def get_hyperparameters_class(method: Method | None) -> type[Hyperparameters]:
    """Get the schema of a method's hyperparameters; a job without a method is supervised."""
    name = "supervised" if method is None else method.type
    return HYPERPARAMETERS_BY_METHOD.get(name, Hyperparameters)
