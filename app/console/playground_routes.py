"""The playground: one prompt to several models at once, whose answers scripts stream."""

import asyncio

from fastapi import APIRouter, Request, Response

from app.console.dependencies import ApiDep
from app.console.model_choice import choose_models, list_choices
from app.console.page import render
from app.http.console_cookie import CONSOLE_PATH

# To begin a new file with; those of longer lists are downloaded and joined by other means.
MAX_LISTED_FILES = 200

router = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False)


@router.get("/playground")
async def show_playground(request: Request, api: ApiDep) -> Response:
    """The page. `model`, which may be repeated, chooses models in place of the newest one."""
    models, files = await asyncio.gather(
        api.get("/v1/models", {"include": "details"}),
        api.get("/v1/files", {"purpose": "fine-tune", "limit": MAX_LISTED_FILES}),
    )
    choices = list_choices(models["data"])
    return render(
        request,
        "playground.html",
        choices=choices,
        chosen=choose_models(choices, request.query_params.getlist("model")),
        files=files["data"],
    )
