"""The installation's organization and its default project, created when first needed."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import ids
from app.db.tables import Organization, Project


def ensure_organization(session: Session, slug: str) -> Organization:
    """Get the organization with this slug, its row locked; create it if it is missing."""
    session.execute(
        insert(Organization)
        .values(id=ids.organization_id(), slug=slug)
        .on_conflict_do_nothing(index_elements=["slug"])
    )
    return session.scalars(
        select(Organization).where(Organization.slug == slug).with_for_update()
    ).one()


def ensure_default_project(session: Session, organization_slug: str) -> Project:
    """Get the organization's oldest project that is not archived; create one if there is none."""
    # The row lock makes processes that start concurrently agree on one project.
    organization = ensure_organization(session, organization_slug)
    project = session.scalars(
        select(Project)
        .where(Project.organization_id == organization.id, Project.archived_at.is_(None))
        .order_by(Project.created_at)
    ).first()
    if project is None:
        project = Project(id=ids.project_id(), organization_id=organization.id, name="default")
        session.add(project)
        session.flush()
    return project
