"""Which of Hugging Face's parameters each task takes; what it has no use for is refused."""

from collections.abc import Iterator

from app.errors import InvalidRequest
from app.wire.encoders import InferenceParameters, InferenceRequest
from worker.encoding.task import Method

SUPPORTED_PARAMETERS: dict[Method, tuple[str, ...]] = {
    "classification": ("truncate", "top_k", "function_to_apply"),
    "token_classification": ("truncate", "aggregation_strategy", "ignore_labels"),
    "question_answering": (
        "truncate",
        "top_k",
        "align_to_words",
        "handle_impossible_answer",
        "max_answer_len",
    ),
    "embedding": (
        "truncate",
        "truncation_direction",
        "normalize",
        "dimensions",
        "encoding_format",
    ),
}
NON_PARAMETER_FIELDS = ("inputs", "parameters", "options")


def select_parameters(asked: InferenceRequest, method: Method) -> InferenceParameters:
    """What is chosen, in `parameters` or beside them. Raises InvalidRequest."""
    beside = list(_set_names(asked))
    inside = list(_set_names(asked.parameters))
    for name in beside:
        _check_supported(name, name, method)
    for name in inside:
        _check_supported(f"parameters.{name}", name, method)
    values = {name: getattr(asked, name) for name in beside}
    values |= {name: getattr(asked.parameters, name) for name in inside}
    return InferenceParameters(**values)


def _set_names(parameters: InferenceParameters) -> Iterator[str]:
    for name, value in parameters:
        if value is not None and name not in NON_PARAMETER_FIELDS:
            yield name


def _check_supported(param: str, name: str, method: Method) -> None:
    if name in SUPPORTED_PARAMETERS[method]:
        return
    raise InvalidRequest(
        f"Unknown parameter: '{param}'. Models for {method} take {', '.join(SUPPORTED_PARAMETERS[method])}.",
        param=param,
        code="unknown_parameter",
    )
