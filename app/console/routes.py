"""Registration of the console with the application."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse

from app.auth.oidc_provider import OidcProvider
from app.console import (
    alias_routes,
    api_proxy,
    assets,
    checkpoint_routes,
    compare_routes,
    error_pages,
    eval_routes,
    evaluation_routes,
    file_routes,
    file_statistics_routes,
    home_routes,
    job_list_routes,
    job_routes,
    limit_routes,
    login_routes,
    model_routes,
    new_job_routes,
    oidc_routes,
    operate_routes,
    playground_routes,
    session_routes,
    settings_routes,
    webhook_routes,
)
from app.console.live import LiveHub
from app.console.page import get_prefix
from app.console.page_security import PageHeaders
from app.http.console_cookie import CONSOLE_PATH
from app.settings import Settings

root = APIRouter(include_in_schema=False)


@root.get("/")
@root.get(CONSOLE_PATH)
async def redirect_to_console(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{get_prefix(request)}{CONSOLE_PATH}/", 307)


def register(app: FastAPI) -> None:
    """Add the console's routes, error pages and headers to the application."""
    app.state.live_hub = LiveHub(app.state.changes)
    settings: Settings = app.state.shared.settings
    app.state.oidc_provider = OidcProvider(settings) if settings.oidc_issuer else None
    app.add_middleware(PageHeaders)
    error_pages.register(app)
    for router in (
        root,
        assets.router,
        login_routes.router,
        oidc_routes.router,
        home_routes.router,
        # Before pages of one job: "new" is no id.
        new_job_routes.router,
        playground_routes.router,
        checkpoint_routes.router,
        eval_routes.router,
        evaluation_routes.router,
        model_routes.router,
        alias_routes.router,
        operate_routes.router,
        webhook_routes.router,
        limit_routes.router,
        session_routes.router,
        settings_routes.router,
        file_routes.router,
        file_statistics_routes.router,
        job_list_routes.router,
        compare_routes.router,
        api_proxy.router,
        # After all other pages below /jobs, whose paths it would take for ids.
        job_routes.router,
    ):
        app.include_router(router)
