"""Hugging Face inference parameters: each task rejects those it does not support."""

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


def select_parameters(request: InferenceRequest, method: Method) -> InferenceParameters:
    """Select the parameters of a request, from `parameters` and from the root of the body.

    Raises InvalidRequest for a parameter that the task does not support.
    """
    at_root = list(_set_names(request))
    in_parameters = list(_set_names(request.parameters))
    for name in at_root:
        _check_supported(name, name, method)
    for name in in_parameters:
        _check_supported(f"parameters.{name}", name, method)
    values = {name: getattr(request, name) for name in at_root}
    values |= {name: getattr(request.parameters, name) for name in in_parameters}
    return InferenceParameters(**values)


def _set_names(parameters: InferenceParameters) -> Iterator[str]:
    for name, value in parameters:
        if value is not None and name not in NON_PARAMETER_FIELDS:
            yield name


def _check_supported(param: str, name: str, method: Method) -> None:
    if name in SUPPORTED_PARAMETERS[method]:
        return
    supported = ", ".join(SUPPORTED_PARAMETERS[method])
    raise InvalidRequest(
        f"Unknown parameter: '{param}'. Models for {method} take {supported}.",
        param=param,
        code="unknown_parameter",
    )
