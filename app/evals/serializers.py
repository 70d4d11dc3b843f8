"""Serializers of evals: rows to wire objects."""

from app.db.tables import Eval
from app.evals.schemas import EvalObject


def serialize_eval(row: Eval) -> EvalObject:
    return EvalObject.model_validate(
        {
            "id": row.id,
            "created_at": row.created_at,
            "name": row.name,
            "metadata": row.user_metadata,
            "data_source_config": row.data_source_config,
            "testing_criteria": row.testing_criteria,
        }
    )
