"""One-time links that log an operator in to the web console."""

from app.auth import console_login_codes, console_sessions, projects
from app.auth.console_sessions import Grant
from app.db.session import one_off_transaction
from app.http.console_cookie import CONSOLE_PATH
from app.local.home import Home
from app.local.operator_commands import get_user_name
from app.local.process_specs import api_url
from app.organization import bootstrap
from app.settings import Settings


def create_link(database_url: str, settings: Settings, project_id: str | None = None) -> str:
    """Create a link for one log-in within the next hour: as an admin, and a member of a project.

    The project is the organization's oldest one unless given. Raises NotFound or InvalidRequest
    for one that does not exist or is archived.
    """
    slug = settings.organization_slug
    with one_off_transaction(database_url) as session:
        organization = bootstrap.ensure_organization(session, slug)
        project = (
            bootstrap.ensure_default_project(session, slug)
            if project_id is None
            else projects.get_active(session, organization.id, project_id)
        )
        grant = Grant(
            organization_id=organization.id,
            project_id=project.id,
            is_admin=True,
            subject=get_user_name(),
        )
        code = console_login_codes.create(session, grant)
    return f"{_find_origin(settings)}{settings.path_prefix}{CONSOLE_PATH}/login?code={code}"


def _find_origin(settings: Settings) -> str:
    """The operator's origin, or the URL of the running service, whose port may be another one."""
    if settings.public_origin is not None:
        return settings.public_origin
    running = Home(settings.home).running_stack() if settings.home.exists() else None
    return api_url(settings) if running is None else running.url


def end_sessions(database_url: str, settings: Settings) -> int:
    """End all sessions of the console; returns their number."""
    with one_off_transaction(database_url) as session:
        organization = bootstrap.ensure_organization(session, settings.organization_slug)
        return console_sessions.revoke_all(session, organization.id)
