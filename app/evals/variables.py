"""Variables of an eval's templates: checked against its data source before anything is run."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from app.errors import InvalidRequest
from app.evals import data_sources
from app.graders.schemas import ModelGrader, MultiGrader
from app.graders.template import (
    OUTPUT_VARIABLES,
    UnknownVariable,
    find_variables,
    is_unclosed,
    parse_path,
)

MAX_LISTED_FIELDS = 20
MAX_QUOTED_CHARS = 100


def list_templates(criterion: BaseModel, param: str) -> Iterator[tuple[str, str]]:
    """List the templates of a criterion, each with its place in the request."""
    if isinstance(criterion, MultiGrader):
        for key, grader in criterion.graders.items():
            yield from list_templates(grader, f"{param}.graders.{key}")
    elif isinstance(criterion, ModelGrader):
        for index, message in enumerate(criterion.input):
            yield f"{param}.input[{index}].content", message.content
    else:
        for name in ("input", "reference"):
            yield f"{param}.{name}", getattr(criterion, name)


def check_template(
    param: str, template: str, config: Mapping[str, Any], *, has_sample: bool = True
) -> None:
    """Raise InvalidRequest for a variable that no item of the data source can have.

    Templates of what is sent to a model have no sample yet.
    """
    if is_unclosed(template):
        raise InvalidRequest(
            f"Invalid '{param}': a variable is not closed; write {{{{ item.name }}}}.",
            param=param,
            code="invalid_value",
        )
    for path in find_variables(template):
        reason = _find_error(path, config, has_sample=has_sample)
        if reason is not None:
            raise InvalidRequest(
                f"Invalid '{param}': the variable '{path[:MAX_QUOTED_CHARS]}' is unknown; {reason}",
                param=param,
                code="invalid_value",
            )


def check_reference(param: str, path: str, config: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for the path of a variable that no item can have."""
    reason = _find_error(path.strip(), config, has_sample=False)
    if reason is not None:
        raise InvalidRequest(f"Invalid '{param}': {reason}", param=param, code="invalid_value")


def _find_error(path: str, config: Mapping[str, Any], *, has_sample: bool) -> str | None:
    try:
        namespace, steps = parse_path(path)
    except UnknownVariable:
        return (
            "a variable is written as {{ item.name }} or {{ sample.output_text }}, with further "
            "names after a dot and indexes in brackets."
        )
    field = steps[0] if steps else None
    if namespace == "sample" and not has_sample:
        return "the messages to the model are made of the item; the sample is its answer."
    if namespace == "sample":
        return _find_sample_error(field, config)
    fields = data_sources.list_item_fields(config)
    if field is None or fields is None or field in fields:
        return None
    listed = ", ".join(fields[:MAX_LISTED_FIELDS]) or "none"
    return f"the properties of 'data_source_config.item_schema' are: {listed}."


def _find_sample_error(field: str | int | None, config: Mapping[str, Any]) -> str | None:
    if not data_sources.has_sample(config):
        return (
            "set 'data_source_config.include_sample_schema' to true for templates that name the "
            "model's output."
        )
    is_known = field is None or field in OUTPUT_VARIABLES
    is_open = not config["schema"]["properties"]["sample"].get("properties")
    if is_known or is_open:
        return None
    return f"the fields of 'sample' are: {', '.join(sorted(OUTPUT_VARIABLES))}."
