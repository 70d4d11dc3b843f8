"""Checks of the formulas of multi graders in requests."""

from pydantic import BaseModel

from app.errors import InvalidRequest
from app.graders.formula import FUNCTIONS, FormulaError, compile_formula
from app.graders.schemas import MultiGrader


def check_formula(grader: BaseModel, *, param: str) -> None:
    """Raise InvalidRequest for a formula that does not compile.

    Errors that depend on the rewards, such as a division by zero, appear only in a run.
    """
    if not isinstance(grader, MultiGrader):
        return
    try:
        compile_formula(grader.calculate_output, grader.graders)
    except FormulaError as error:
        raise InvalidRequest(
            f"Invalid '{param}.calculate_output': {error}. A formula may use + - * / ^, the "
            f"functions {', '.join(FUNCTIONS)}, and these graders: {', '.join(grader.graders)}.",
            param=f"{param}.calculate_output",
            code="invalid_value",
        ) from error
