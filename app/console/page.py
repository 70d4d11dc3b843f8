"""Rendering of pages: templates, their filters, and the answers to errors."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from app.auth.console_sessions import ConsoleIdentity
from app.console import assets, curves, formatting, texts
from app.http.console_cookie import CONSOLE_API_PATH, CONSOLE_PATH, read_cookie
from app.http.dependencies import AppState
from app.settings import Settings

# Relative times in a page are by its own clock, and become right again when it is reloaded.
environment = Environment(
    loader=PackageLoader("app.console", "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters.update(
    bytes=formatting.format_bytes,
    count=formatting.format_count,
    number=formatting.format_number,
    duration=formatting.format_duration,
    relative=formatting.format_relative,
    exact=formatting.format_exact,
    iso=formatting.format_iso,
    clock=formatting.format_clock,
    json_attribute=lambda value: orjson.dumps(value).decode(),
    json_indented=lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(),
    state_word=texts.name_state,
    state_tone=texts.choose_tone,
    method_word=texts.name_method,
    metric_word=curves.name_metric,
    end_word=texts.name_end,
    engine_word=texts.name_engine,
)


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Render a template as the response to a request.

    Templates know, besides `context`: `identity` (None before log-in), `nonce` (the value of
    `hx-nonce` of each element with attributes of htmx), `url(path)`, `static(name)`, `here` (the
    request's path), `query` and `now`.
    """
    html = environment.get_template(template).render(_shared_context(request) | context)
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}))


def render_fragment(prefix: str, template: str, **context: Any) -> str:
    """Render a part of a page that several browsers get. It can have no attributes of htmx."""
    shared = {
        "identity": None,
        "nonce": "",
        "url": lambda path="": f"{prefix}{CONSOLE_PATH}{path}",
        "now": datetime.now(UTC),
    }
    return environment.get_template(template).render(shared | context)


def get_settings(request: Request) -> Settings:
    state: AppState = request.app.state.shared
    return state.settings


def get_prefix(request: Request) -> str:
    """The path that a reverse proxy removes from requests."""
    return get_settings(request).path_prefix


def is_fragment(request: Request) -> bool:
    """htmx asks for a part of the page. It sends this header with each request."""
    return request.headers.get("hx-request") == "true"


def _shared_context(request: Request) -> dict[str, Any]:
    prefix = get_prefix(request)
    identity: ConsoleIdentity | None = request.scope.get("console_identity")
    return {
        "identity": identity,
        "csrf_token": identity.csrf_token if identity else "",
        "nonce": request.scope["console_nonce"],
        "url": lambda path="": f"{prefix}{CONSOLE_PATH}{path}",
        "api_url": lambda path="": f"{prefix}{CONSOLE_API_PATH}{path}",
        "static": lambda name: prefix + assets.build_url(name),
        "here": request.url.path.removeprefix(CONSOLE_PATH) or "/",
        "query": request.query_params,
        "theme": read_cookie(request.scope, "luthier_theme") or "auto",
        "is_fragment": is_fragment(request),
        "now": datetime.now(UTC),
        "texts": texts,
    }
