"""Settings: limits of the project with their present use, and how long stored things are kept."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.console.dependencies import ApiDep
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH

# Share of a limit from which the page says what to do.
NEAR_LIMIT = 0.8

router = APIRouter(prefix=f"{CONSOLE_PATH}/settings/limits", include_in_schema=False)


@router.get("")
async def show_limits(request: Request, api: ApiDep) -> Response:
    found = await api.get("/v1/limits")
    limits = found["limits"]
    return render(
        request,
        "settings_limits.html",
        counted=[limit for limit in limits if limit["used"] is not None],
        others=[limit for limit in limits if limit["used"] is None],
        near=[limit for limit in limits if _is_near(limit)],
        retention=found["retention"],
    )


def _is_near(limit: dict[str, Any]) -> bool:
    if limit["used"] is None or limit["limit"] is None:
        return False
    return bool(limit["used"] >= NEAR_LIMIT * limit["limit"])
