"""Fields of a job's request that its schema does not know: refused where they would change it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from rapidfuzz import fuzz, process

from app.errors import InvalidRequest
from app.formats.errors import escape_for_message
from app.jobs.hyperparameters import HYPERPARAMETERS_BY_METHOD, get_hyperparameters_class
from app.jobs.schemas import CreateJob

# OpenAI's hyperparameters of other methods and of its older API: clients send one set for all.
OPENAI_HYPERPARAMETERS = frozenset(
    {
        "beta",
        "compute_multiplier",
        "eval_interval",
        "eval_samples",
        "prompt_loss_weight",
        "reasoning_effort",
    }
)
# Blocks of methods that are not available; clients send those of all methods.
OPENAI_FIELDS = frozenset({"method.reinforcement"})
# Names whose absence needs more than a similar name.
EXPLANATIONS = {
    "learning_rate": (
        "The rate is chosen for the model; 'learning_rate_multiplier' scales it, and the job "
        "shows the product as learning_rate."
    ),
}
# Similarity in percent from which a name is taken for a misspelling of another.
MIN_SIMILARITY = 75
MAX_NAME_LENGTH = 64
# An event names at most this many fields; a request may have any number.
MAX_LISTED_NAMES = 10


@dataclass(frozen=True, slots=True)
class IgnoredFields:
    """Fields that do not change the job; an event names them."""

    hyperparameters: tuple[str, ...]
    others: tuple[str, ...]


def check_unknown_fields(request: CreateJob) -> IgnoredFields:
    """Return the fields that are ignored. Raises InvalidRequest for one that would matter."""
    _check_blocks(request)
    unknown = request.list_unknown_hyperparameters()
    for name in unknown:
        if name not in OPENAI_HYPERPARAMETERS:
            path = request.build_param_path(name)
            raise _build_error(path, explain_hyperparameter(name, request))
    others = tuple(_list_unknown(request))
    for path, name, known in others:
        reason = _find_misplaced(name, request) or _suggest(name, known)
        if reason:
            raise _build_error(path, reason)
    return IgnoredFields(tuple(unknown), tuple(path for path, _, _ in others))


def format_names(names: Iterable[str]) -> str:
    """List the first names, safe to show."""
    listed = list(names)
    more = f" and {len(listed) - MAX_LISTED_NAMES} more" if len(listed) > MAX_LISTED_NAMES else ""
    return ", ".join(escape_for_message(name) for name in listed[:MAX_LISTED_NAMES]) + more


def _check_blocks(request: CreateJob) -> None:
    """Raise InvalidRequest if the only block is another method's: what it says would be lost.

    Clients send the blocks of all methods, so those beside the method's own one are ignored.
    """
    method = request.method
    if method is None or method.type not in HYPERPARAMETERS_BY_METHOD or method.block is not None:
        return
    blocks = method.model_dump(exclude_unset=True, include={*HYPERPARAMETERS_BY_METHOD})
    for name, block in blocks.items():
        if _has_settings(block):
            raise InvalidRequest(
                f"Invalid 'method.{name}': the job's method is '{method.type}', which reads "
                f"method.{method.type}. Write the hyperparameters there, change method.type, or "
                "omit the block.",
                param=f"method.{name}",
                code="invalid_value",
            )


def _has_settings(value: object) -> bool:
    """True if anything in a block is neither empty nor left to choose."""
    if isinstance(value, Mapping):
        return any(map(_has_settings, value.values()))
    return value not in (None, "auto")


def _list_unknown(request: CreateJob) -> Iterator[tuple[str, str, Iterable[str]]]:
    """Yield the path and the name of each unknown field, and the names known in its place."""
    parts: list[tuple[str, BaseModel]] = [("", request)]
    if request.method is not None:
        parts.append(("method.", request.method))
        block = request.method.block
        if block is not None:
            parts.append((f"method.{request.method_type}.", block))
    for number, integration in enumerate(request.integrations or ()):
        place = f"integrations[{number}]."
        parts += [(place, integration), (f"{place}wandb.", integration.wandb)]
    for prefix, part in parts:
        for name in part.model_extra or ():
            if prefix + name not in OPENAI_FIELDS:
                yield prefix + name, name, type(part).model_fields


def explain_hyperparameter(name: str, request: CreateJob) -> str:
    """Say where an unknown hyperparameter belongs, or which known one is meant."""
    known = get_hyperparameters_class(request.method).model_fields
    owners = [method for method, s in HYPERPARAMETERS_BY_METHOD.items() if name in s.model_fields]
    suggestion = EXPLANATIONS.get(name) or _suggest(name, known)
    if not suggestion and not owners:
        suggestion = f"The method has {', '.join(known)}."
    return f"{_name_owners(owners)} {suggestion}".strip()


def _name_owners(owners: Sequence[str]) -> str:
    """Say which methods have a hyperparameter, if any has."""
    if len(owners) < 2:
        return "".join(f"It belongs to method {owner}." for owner in owners)
    return f"It belongs to methods {', '.join(owners[:-1])} and {owners[-1]}."


def _find_misplaced(name: str, request: CreateJob) -> str:
    """Say where a hyperparameter belongs that was written elsewhere."""
    method = request.method_type
    if name == "hyperparameters":
        return f"Write it into method.{method}."
    if name not in get_hyperparameters_class(request.method).model_fields:
        return ""
    return f"It is a hyperparameter: write it into method.{method}.hyperparameters."


def _suggest(name: str, known: Iterable[str]) -> str:
    """Name the most similar known name, if one is similar enough."""
    if len(name) > MAX_NAME_LENGTH:
        return ""
    match = process.extractOne(
        name, list(known), scorer=fuzz.ratio, processor=_normalize, score_cutoff=MIN_SIMILARITY
    )
    return f"Did you mean '{match[0]}'?" if match else ""


def _normalize(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _build_error(path: str, reason: str) -> InvalidRequest:
    prefix, dot, name = path.rpartition(".")
    param = f"{prefix}{dot}{escape_for_message(name)}"
    return InvalidRequest(
        f"Unknown parameter: '{param}'. {reason}".strip(), param=param, code="unknown_parameter"
    )
