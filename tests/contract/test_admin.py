"""An organization managed through the official client, on the live stack."""

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import SYSTEM, Stack
from tests.contract.test_models import chat

pytestmark = pytest.mark.live


def client_with_key(stack: Stack, key: str) -> OpenAI:
    return OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=key,
        admin_api_key=key,
        max_retries=0,
        timeout=120,
        _strict_response_validation=True,
    )


def test_life_cycle_of_a_project_and_a_shared_model(
    stack: Stack, succeeded_job: FineTuningJob
) -> None:
    path = stack.home / "admin_key"
    assert path.stat().st_mode & 0o777 == 0o600
    admin_key = path.read_text().strip()
    admin = client_with_key(stack, admin_key)
    projects = admin.admin.organization.projects
    research = projects.create(name="research")
    account = projects.service_accounts.create(research.id, name="nightly")
    assert account.api_key is not None
    project_client = client_with_key(stack, account.api_key.value)

    with pytest.raises(PermissionDeniedError):
        project_client.admin.organization.projects.list()
    with pytest.raises(PermissionDeniedError):
        admin.models.list()
    model = succeeded_job.fine_tuned_model
    assert model is not None
    with pytest.raises(NotFoundError):
        chat(project_client, model)
    with pytest.raises(NotFoundError):
        project_client.fine_tuning.jobs.retrieve(succeeded_job.id)

    permissions = admin.fine_tuning.checkpoints.permissions
    created = permissions.create(model, project_ids=[research.id])
    assert [permission.id for permission in permissions.list(model)] == [created.data[0].id]
    assert chat(project_client, model)
    assert permissions.delete(created.data[0].id, fine_tuned_model_checkpoint=model).deleted
    with pytest.raises(NotFoundError):
        chat(project_client, model)

    key = projects.api_keys.retrieve(account.api_key.id, project_id=research.id)
    assert key.owner.service_account is not None
    assert key.last_used_at is not None
    updated = projects.api_keys.update(key.id, project_id=research.id, expires_in_seconds=3600)
    assert updated.expires_at is not None
    assert projects.archive(research.id).status == "archived"
    with pytest.raises(AuthenticationError):
        project_client.models.list()
    assert research.id not in [project.id for project in projects.list()]

    logs = {path.name: path.read_text() for path in (stack.home / "logs").glob("*.log")}
    assert any(account.api_key.id in text for text in logs.values()), logs.keys()
    for secret in (stack.key, admin_key, account.api_key.value, SYSTEM):
        assert [name for name, text in logs.items() if secret in text] == [], (
            "a log contains a secret"
        )


def test_life_cycle_of_service_accounts_and_their_keys(stack: Stack) -> None:
    organization = client_with_key(stack, (stack.home / "admin_key").read_text().strip())
    projects = organization.admin.organization.projects
    project = projects.create(name="operations")
    assert projects.update(project.id, name="production").name == "production"
    assert projects.retrieve(project.id).name == "production"

    accounts = projects.service_accounts
    account = accounts.create(project.id, name="deploy")
    renamed = accounts.update(account.id, project_id=project.id, name="release")
    assert accounts.retrieve(account.id, project_id=project.id) == renamed
    assert [account.id for account in accounts.list(project.id)] == [account.id]
    second = accounts.api_keys.create(account.id, project_id=project.id, name="second")
    project_client = client_with_key(stack, second.value)
    assert project_client.models.list().data

    keys = projects.api_keys
    assert {key.id for key in keys.list(project.id)} == {second.id, account.api_key.id}  # type: ignore[union-attr]
    assert keys.delete(second.id, project_id=project.id).deleted
    with pytest.raises(AuthenticationError):
        project_client.models.list()
    assert accounts.delete(account.id, project_id=project.id).deleted
    assert [key.id for key in keys.list(project.id)] == []
    projects.archive(project.id)


def test_life_cycle_of_an_admin_key(stack: Stack) -> None:
    keys = client_with_key(
        stack, (stack.home / "admin_key").read_text().strip()
    ).admin.organization.admin_api_keys
    created = keys.create(name="second admin")
    admin = client_with_key(stack, created.value)
    assert created.id in [key.id for key in admin.admin.organization.admin_api_keys.list()]
    assert keys.retrieve(created.id).name == "second admin"
    assert keys.delete(created.id).deleted
    with pytest.raises(AuthenticationError):
        admin.admin.organization.projects.list()
