"""Weights & Biases runs are written only where the operator allows it."""

import pytest

from app.errors import InvalidRequest
from app.jobs.wandb_policy import MAX_PROJECT_LENGTH, WandbPolicy
from app.settings import Settings

PROJECT = "proj_abc"


def integration(project: str = "desk", entity: str | None = None) -> dict[str, object]:
    return {"type": "wandb", "wandb": {"project": project, "entity": entity}}


class TestA64Policy:
    def test_by_default_only_the_keys_own_entity_is_allowed(self) -> None:
        policy = WandbPolicy(is_available=True)
        policy.check(PROJECT, [integration()])
        with pytest.raises(InvalidRequest, match="'finance' is not allowed here: omit it") as error:
            policy.check(PROJECT, [integration(), integration(entity="finance")])
        assert error.value.error_param == "integrations[1].wandb.entity"

    def test_the_operator_allows_entities(self) -> None:
        policy = WandbPolicy(is_available=True, entity="team", allowed_entities=("lab",))
        policy.check(PROJECT, [integration(entity="team"), integration(entity="lab")])
        with pytest.raises(InvalidRequest, match="use 'team' or 'lab', or omit it"):
            policy.check(PROJECT, [integration(entity="LAB")])

    def test_projects_of_tenants_are_separate(self) -> None:
        policy = WandbPolicy()
        assert policy.build_project(PROJECT, "desk") == "proj_abc-desk"
        assert policy.build_project(PROJECT, "{project_id}") == "proj_abc-{project_id}"
        assert WandbPolicy(project_template="{name}").build_project(PROJECT, "desk") == "desk"

    def test_a_name_that_is_too_long_with_its_prefix_is_rejected(self) -> None:
        policy = WandbPolicy(is_available=True)
        longest = MAX_PROJECT_LENGTH - len("proj_abc-")
        policy.check(PROJECT, [integration("x" * longest)])
        with pytest.raises(InvalidRequest, match=r"too long by 1 character") as error:
            policy.check(PROJECT, [integration("x" * (longest + 1))])
        assert error.value.error_param == "integrations[0].wandb.project"

    def test_a_template_without_the_name_is_no_setting(self) -> None:
        with pytest.raises(ValueError, match="wandb_project_template"):
            Settings(wandb_project_template="all")
