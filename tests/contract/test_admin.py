"""An organization managed through the official client, on the live stack."""

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI, PermissionDeniedError
from openai.types.fine_tuning import FineTuningJob

from tests.contract.running_stack import SYSTEM, Stack
from tests.contract.test_models import ask

pytestmark = pytest.mark.live


def client_with(stack: Stack, key: str) -> OpenAI:
    return OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=key,
        admin_api_key=key,
        max_retries=0,
        timeout=120,
        _strict_response_validation=True,
    )


def test_from_a_new_project_to_its_end(stack: Stack, tuned: FineTuningJob) -> None:
    path = stack.home / "admin_key"
    assert path.stat().st_mode & 0o777 == 0o600
    admin_key = path.read_text().strip()
    admin = client_with(stack, admin_key)
    projects = admin.admin.organization.projects
    research = projects.create(name="research")
    account = projects.service_accounts.create(research.id, name="nightly")
    assert account.api_key is not None
    guest = client_with(stack, account.api_key.value)

    with pytest.raises(PermissionDeniedError):
        guest.admin.organization.projects.list()
    with pytest.raises(PermissionDeniedError):
        admin.models.list()
    model = tuned.fine_tuned_model
    assert model is not None
    with pytest.raises(NotFoundError):
        ask(guest, model)
    with pytest.raises(NotFoundError):
        guest.fine_tuning.jobs.retrieve(tuned.id)

    permissions = admin.fine_tuning.checkpoints.permissions
    made = permissions.create(model, project_ids=[research.id])
    assert [one.id for one in permissions.list(model)] == [made.data[0].id]
    assert ask(guest, model)
    assert permissions.delete(made.data[0].id, fine_tuned_model_checkpoint=model).deleted
    with pytest.raises(NotFoundError):
        ask(guest, model)

    key = projects.api_keys.retrieve(account.api_key.id, project_id=research.id)
    assert key.owner.service_account is not None
    assert key.last_used_at is not None
    prolonged = projects.api_keys.update(key.id, project_id=research.id, expires_in_seconds=3600)
    assert prolonged.expires_at is not None
    assert projects.archive(research.id).status == "archived"
    with pytest.raises(AuthenticationError):
        guest.models.list()
    assert research.id not in [project.id for project in projects.list()]

    logs = {path.name: path.read_text() for path in (stack.home / "logs").glob("*.log")}
    assert any(account.api_key.id in text for text in logs.values()), logs.keys()
    for secret in (stack.key, admin_key, account.api_key.value, SYSTEM):
        assert [name for name, text in logs.items() if secret in text] == [], "a secret is logged"


def test_service_accounts_and_their_keys(stack: Stack) -> None:
    organization = client_with(stack, (stack.home / "admin_key").read_text().strip())
    projects = organization.admin.organization.projects
    project = projects.create(name="operations")
    assert projects.update(project.id, name="production").name == "production"
    assert projects.retrieve(project.id).name == "production"

    accounts = projects.service_accounts
    account = accounts.create(project.id, name="deploy")
    renamed = accounts.update(account.id, project_id=project.id, name="release")
    assert accounts.retrieve(account.id, project_id=project.id) == renamed
    assert [each.id for each in accounts.list(project.id)] == [account.id]
    second = accounts.api_keys.create(account.id, project_id=project.id, name="second")
    guest = client_with(stack, second.value)
    assert guest.models.list().data

    keys = projects.api_keys
    assert {key.id for key in keys.list(project.id)} == {second.id, account.api_key.id}  # type: ignore[union-attr]
    assert keys.delete(second.id, project_id=project.id).deleted
    with pytest.raises(AuthenticationError):
        guest.models.list()
    assert accounts.delete(account.id, project_id=project.id).deleted
    assert [key.id for key in keys.list(project.id)] == []
    projects.archive(project.id)


def test_admin_keys(stack: Stack) -> None:
    keys = client_with(
        stack, (stack.home / "admin_key").read_text().strip()
    ).admin.organization.admin_api_keys
    made = keys.create(name="second admin")
    admin = client_with(stack, made.value)
    assert made.id in [each.id for each in admin.admin.organization.admin_api_keys.list()]
    assert keys.retrieve(made.id).name == "second admin"
    assert keys.delete(made.id).deleted
    with pytest.raises(AuthenticationError):
        admin.admin.organization.projects.list()
