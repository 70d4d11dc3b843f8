"""Models that pages offer to choose from, and what each of them can be asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# More would make a list that nobody reads; others are opened from their own pages.
MAX_LISTED_MODELS = 300
MAX_CHOSEN_MODELS = 4


class Task(StrEnum):
    """Kind of question that a model answers; each has a form of its own."""

    CHAT = "chat"
    CLASSIFICATION = "classification"
    TOKEN_CLASSIFICATION = "token_classification"
    QUESTION_ANSWERING = "question_answering"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model of a list. `base` is its base model, or empty for one."""

    name: str
    task: Task
    base: str


def list_choices(models: Iterable[Mapping[str, Any]]) -> list[ModelChoice]:
    """List the models of the API that can be asked, without other names of base models.

    `models` are listed with their details; those without have a base model that is gone.
    """
    choices = [
        ModelChoice(model["id"], _find_task(details), _find_base(details))
        for model in models
        if (details := model.get("details")) is not None
        and (details["job_id"] or details["base_model"] == model["id"])
    ]
    return choices[:MAX_LISTED_MODELS]


def choose_models(choices: Sequence[ModelChoice], names: Sequence[str]) -> list[str]:
    """Choose the models to begin with: the named ones, or the newest fine-tuned one.

    One fine-tuned chat model alone is shown with its base model.
    """
    if len(names) > 1:
        return list(names[:MAX_CHOSEN_MODELS])
    tuned = [each for each in choices if each.base and (not names or each.name == names[0])]
    if not tuned:
        return list(names) or [each.name for each in choices if each.task is Task.CHAT][:1]
    first = tuned[0]
    return [first.base, first.name] if first.task is Task.CHAT else [first.name]


def _find_task(details: Mapping[str, Any]) -> Task:
    if details["method"] in set(Task):
        return Task(details["method"])
    return Task.CHAT if details["kind"] == "causal" else Task.EMBEDDING


def _find_base(details: Mapping[str, Any]) -> str:
    return details["base_model"] if details["job_id"] else ""
