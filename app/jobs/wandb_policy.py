"""Policy for Weights & Biases runs: all are written with the operator's one key.

A job may only name the entities that the operator allows, and each project's runs go to W&B
projects of its own, so that tenants cannot write into the operator's projects or each other's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidRequest
from app.settings import Settings

# W&B's limit on the length of a project's name.
MAX_PROJECT_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbPolicy:
    """The operator's choices; `entity` is that of runs whose jobs name none, None is the key's.

    `is_available` is true if a credential is configured. `project_template` builds the name of a
    W&B project from `{project_id}`, the project that owns the job, and `{name}`, as requested.
    """

    is_available: bool = False
    entity: str | None = None
    allowed_entities: Sequence[str] = ()
    project_template: str = "{project_id}-{name}"

    @classmethod
    def from_settings(cls, settings: Settings) -> "WandbPolicy":
        return cls(
            is_available=settings.has_wandb,
            entity=settings.wandb_entity,
            allowed_entities=settings.wandb_allowed_entities,
            project_template=settings.wandb_project_template,
        )

    def check(self, project_id: str, integrations: Sequence[Mapping[str, Any]]) -> None:
        """Raise InvalidRequest, naming the parameter, for a run that may not be written."""
        if integrations and not self.is_available:
            raise _build_not_configured()
        for number, integration in enumerate(integrations):
            wandb = integration["wandb"]
            param = f"integrations[{number}].wandb"
            if not self.allows_entity(wandb.get("entity")):
                raise self._build_entity_not_allowed(wandb["entity"], f"{param}.entity")
            length = len(self.build_project(project_id, wandb["project"]))
            if length > MAX_PROJECT_LENGTH:
                raise _build_project_too_long(length - MAX_PROJECT_LENGTH, f"{param}.project")

    def allows_entity(self, entity: str | None) -> bool:
        return entity is None or entity == self.entity or entity in self.allowed_entities

    def build_project(self, project_id: str, name: str) -> str:
        """Build the name of the W&B project that a project's run is written to."""
        # Not str.format, which would also resolve braces in the operator's text.
        return self.project_template.replace("{project_id}", project_id).replace("{name}", name)

    def _build_entity_not_allowed(self, entity: str, param: str) -> InvalidRequest:
        allowed = [name for name in (self.entity, *self.allowed_entities) if name is not None]
        choice = f"use {' or '.join(repr(name) for name in allowed)}, or " if allowed else ""
        return InvalidRequest(
            f"The W&B entity {entity!r} is not allowed here: {choice}omit it for the operator's "
            "default.",
            param=param,
            code="invalid_value",
        )


def _build_not_configured() -> InvalidRequest:
    return InvalidRequest(
        "No Weights & Biases credential is configured. Ask the operator to set WANDB_API_KEY, or "
        "omit 'integrations' and read the metrics from the job's events or its result file.",
        param="integrations",
    )


def _build_project_too_long(excess: int, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"The name of the W&B project is too long by {excess} character(s), together with the "
        "prefix that it gets here. Shorten it.",
        param=param,
        code="invalid_value",
    )
