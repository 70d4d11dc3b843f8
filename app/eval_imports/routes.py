"""Route of /v1/evals/import, an extension of OpenAI's API."""

from fastapi import APIRouter

from app.errors import ModelNotFound
from app.eval_imports import service
from app.eval_imports.schemas import EvalImport, ImportEvals
from app.http.dependencies import AppStateDep, PrincipalDep
from app.http.idempotency import IdempotencyDep, IdempotentRoute, ReplayResponse, StoredResponse
from app.http.openapi import error_responses

# Included before the routes of evals, one of which would take `import` for an eval's id.
router = APIRouter(prefix="/v1/evals", tags=["evals"], route_class=IdempotentRoute)


@router.post("/import", status_code=service.STATUS, responses=error_responses(ModelNotFound))
async def import_evals(
    body: ImportEvals, state: AppStateDep, principal: PrincipalDep, attempt: IdempotencyDep
) -> EvalImport:
    """Import an export of OpenAI's evals, or a config of promptfoo, as evals and files of items."""
    result = await service.import_evals(state, principal.project_id, body, attempt)
    if isinstance(result, StoredResponse):
        raise ReplayResponse(result)
    return result
