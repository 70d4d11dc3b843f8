"""Models that the criteria of an eval ask: judges, and an encoder for cosine similarity."""

from collections.abc import Iterator

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.catalog import Catalog
from app.graders.model_calls import check_encoder
from app.graders.schemas import ModelGrader, MultiGrader
from app.models import registry
from app.models.registry import ModelTask


def list_judges(criterion: BaseModel, param: str) -> Iterator[tuple[str, str]]:
    """List the models that a criterion asks, each with its place in the request."""
    if isinstance(criterion, MultiGrader):
        for key, grader in criterion.graders.items():
            yield from list_judges(grader, f"{param}.graders.{key}")
    elif isinstance(criterion, ModelGrader):
        yield f"{param}.model", criterion.model


def check_models(
    session: Session, catalog: Catalog, project_id: str, criterion: BaseModel, param: str
) -> None:
    """Raise ModelNotFound or InvalidRequest for a judge that cannot be asked, or for want of
    an encoder."""
    parts = criterion.graders.values() if isinstance(criterion, MultiGrader) else [criterion]
    check_encoder(parts, catalog, param=param)
    for place, name in list_judges(criterion, param):
        registry.resolve(session, catalog, project_id, name, task=ModelTask.JUDGE, param=place)
