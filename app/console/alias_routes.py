"""Forms of aliases: short names of models, which are listed with them."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from app.console.api_client import ApiCallError, ApiClient, build_path
from app.console.dependencies import ApiDep
from app.console.model_routes import render_models
from app.console.page import get_prefix
from app.http.console_cookie import CONSOLE_PATH

ALIASES = "/v1/aliases"

router = APIRouter(prefix=f"{CONSOLE_PATH}/aliases", include_in_schema=False)


@router.post("")
async def save_alias(
    request: Request,
    api: ApiDep,
    name: Annotated[str, Form(max_length=1000)] = "",
    model: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Create an alias, or point the one of this name to the model."""
    form = {"name": name.strip(), "model": model.strip()}
    try:
        await _save(api, form["name"], form["model"])
    except ApiCallError as error:
        return await render_models(request, api, form=form, problem=error)
    return _go_to_list(request)


@router.post("/{name}/delete")
async def delete_alias(name: str, request: Request, api: ApiDep) -> Response:
    await api.delete(ALIASES + build_path(name))
    return _go_to_list(request)


async def _save(api: ApiClient, name: str, model: str) -> None:
    aliases = await api.get(ALIASES)
    if name in {alias["name"] for alias in aliases["data"]}:
        await api.post(ALIASES + build_path(name), {"model": model})
    else:
        await api.post(ALIASES, {"name": name, "model": model})


def _go_to_list(request: Request) -> Response:
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/models#aliases", 303)
