"""What projects hold: each kind is counted, and their bytes are those of the quota."""

from sqlalchemy.orm import Session

from app.files import quota
from app.operations.project_holdings import ProjectHoldings, list_holdings
from app.settings import Settings
from tests.factories import make_project
from tests.tenants import make_tenant


def find(session: Session, project_id: str) -> ProjectHoldings:
    (found,) = list_holdings(session, Settings(), project_id)
    return found


def test_each_kind_is_counted_and_bytes_are_the_quotas(session: Session) -> None:
    """A kind of stored bytes that is missing here makes the sums differ."""
    tenant = make_tenant(session, "acme", "mine")
    other = make_tenant(session, "acme", "other")
    quota.recount(session)
    for ids in (tenant.ids, other.ids):
        found = find(session, ids["project"])
        counts = {holding.kind: holding.count for holding in found.holdings}
        assert counts["files"] == found.used.files > 0
        assert (counts["stored completions"], counts["conversations"]) == (2, 1)
        counted = [counts[kind] for kind in ("jobs", "sweeps", "batches", "evals")]
        assert counted == [3, 2, 2, 2]
        assert counts["fine-tuned models"] == 1
        assert sum(holding.bytes or 0 for holding in found.holdings) == found.used.bytes > 0


def test_limits_and_archived_projects(session: Session) -> None:
    settings = Settings()
    project = make_project(session)
    project.max_storage_bytes = 7
    found = find(session, project.id)
    assert (found.max_bytes, found.max_files) == (7, settings.max_files_per_project)
    assert [each.project.id for each in list_holdings(session, settings, None)] == [project.id]
    project.archived_at = project.created_at
    assert list_holdings(session, settings, None) == []
    assert find(session, project.id).project.archived_at is not None
    assert list_holdings(session, settings, "proj_unknown") == []
