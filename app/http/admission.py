"""In front of everything: who may come in with how much, and an answer whatever happens.

Pure ASGI, since FastAPI reads a request's body before its dependencies run: what is refused here
has cost no more than its headers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import principals, secrets
from app.auth.principals import AdminPrincipal, Principal
from app.errors import (
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.http.dependencies import AppState, run_autocommit
from app.http.rate_limits import InMemoryRateLimiter, RateLimit, format_duration
from app.http.request_context import RequestContext

# Room for the multipart form around an uploaded file.
FORM_OVERHEAD_BYTES = 2**20
# Each holds memory, and a stream its engine's too: beyond this, waiting elsewhere is faster.
MAX_CONCURRENT_REQUESTS = 1000
# Whoever watches over the process must hear that it lives, above all when it is busy.
PROBE_PATHS = ("/healthz", "/readyz")
# Wrong keys of one address in a minute. Nobody guesses 256 bits, but each guess asks the database.
FAILED_AUTH_LIMIT = RateLimit(requests=1000, bytes=1)
# Only texts for models may be long: what everything else is asked for never is.
MAX_SHORT_BODY_BYTES = 2**20
LONG_BODY_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/classify",
    "/models/",
)
UPLOAD_PART_PATH = re.compile(r"/v1/uploads/[^/]+/parts")
KEY_QUERY_PARAMS = ("api_key=", "api-key=", "key=")


class AdmissionMiddleware:
    """ASGI middleware around the routes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: AppState,
        part_bytes: int,
        max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS,
    ) -> None:
        self._app = app
        self._part_bytes = part_bytes
        self._state = state
        self._max_concurrent_requests = max_concurrent_requests
        self._in_flight = 0
        self._in_flight_by_key: Counter[str] = Counter()
        self._failed_auth_limiter = InMemoryRateLimiter(FAILED_AUTH_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = RequestContext(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            try:
                await self._serve(exchange)
            finally:
                exchange.log_request()
                await self._charge_undeclared_bytes(exchange)

    async def _serve(self, exchange: RequestContext) -> None:
        try:
            with self._global_slot(exchange.scope["path"]):
                await self._check_request(exchange)
                with self._key_slot(exchange.principal):
                    await self._app(exchange.app_scope(), exchange.receive, exchange.send)
        except ClientDisconnect:
            return
        except Exception as error:
            await exchange.send_error(error)

    async def _charge_undeclared_bytes(self, exchange: RequestContext) -> None:
        """Take what no length had declared from the key's bytes, now that it has come."""
        undeclared = exchange.undeclared_bytes()
        if exchange.principal is not None and undeclared:
            await self._state.rate_limiter.take(exchange.principal.key_id, undeclared, count=0)

    @contextmanager
    def _global_slot(self, path: str) -> Iterator[None]:
        """One of the places there are for requests. Raises Unavailable if all are taken."""
        if path in PROBE_PATHS:
            yield
            return
        if self._in_flight >= self._max_concurrent_requests:
            raise ServiceUnavailable("Too many requests are being served. Try again in a moment.")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _check_request(self, exchange: RequestContext) -> None:
        """Raises the error that a request deserves before anything of it is read."""
        path, query = exchange.scope["path"], exchange.scope["query_string"]
        if "\0" in path:
            raise NotFound("Invalid URL: it holds a NUL character.")
        if b"%00" in query:
            raise InvalidRequest("The URL's query holds a NUL character.")
        if path.startswith(("/v1/", "/models/")) or path == "/metrics":
            exchange.principal = await self._authenticate(exchange)
            exchange.scope["principal"] = exchange.principal
        if exchange.headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMediaType(
                "Send the body as it is: compressed bodies are not supported."
            )
        exchange.max_body_bytes = self._max_body_bytes(exchange.scope)
        if exchange.declared_bytes() > exchange.max_body_bytes:
            raise PayloadTooLarge(f"The body is larger than {exchange.max_body_bytes} bytes.")
        if exchange.principal is not None:
            await self._rate_limit(exchange, exchange.principal)

    async def _rate_limit(
        self, exchange: RequestContext, principal: Principal | AdminPrincipal
    ) -> None:
        """Raises RateLimited if the key has asked for too much in the last minute."""
        rate = await self._state.rate_limiter.take(principal.key_id, exchange.declared_bytes())
        exchange.rate_limit_status = rate
        if not rate.allowed:
            what = "requests" if rate.remaining_requests < 1 else "bytes"
            limit = rate.limit.requests if rate.remaining_requests < 1 else rate.limit.bytes
            raise RateLimited(
                f"Rate limit reached for {what} per minute: Limit {limit}. "
                f"Please try again in {format_duration(rate.retry_after)}."
            )

    @contextmanager
    def _key_slot(self, principal: Principal | AdminPrincipal | None) -> Iterator[None]:
        """One of the places of a key. Raises RateLimited if all are taken."""
        if principal is None:
            yield
            return
        most = self._state.settings.key_requests_at_once
        if self._in_flight_by_key[principal.key_id] >= most:
            raise RateLimited(f"{most} requests of this key are being served. Wait for one to end.")
        self._in_flight_by_key[principal.key_id] += 1
        try:
            yield
        finally:
            self._in_flight_by_key[principal.key_id] -= 1
            if not self._in_flight_by_key[principal.key_id]:
                del self._in_flight_by_key[principal.key_id]

    async def _authenticate(self, exchange: RequestContext) -> Principal | AdminPrincipal:
        secret = _bearer_token(exchange)
        principal = await run_autocommit(self._state, lambda session: _lookup_key(session, secret))
        if principal is None:
            self._rate_limit_failed_auth(exchange)
            raise Unauthenticated(
                f"Incorrect API key provided: {secrets.redact(secret)}. "
                "Make one with `luthier keys create`."
            )
        _check_scope_header(
            exchange, "organization", principal.organization_id, principal.organization_slug
        )
        # An admin key is above projects; its client may name the one it works in otherwise.
        if isinstance(principal, Principal):
            _check_scope_header(exchange, "project", principal.project_id)
        return principal

    def _rate_limit_failed_auth(self, exchange: RequestContext) -> None:
        """Raises RateLimited for an address that guesses keys. Right keys are never counted, so
        that nobody can lock others out who come from the same address."""
        address, _ = exchange.scope["client"] or ("", 0)
        if not self._failed_auth_limiter.take(address).allowed:
            raise RateLimited("Too many wrong API keys. Try again in a minute.")

    def _max_body_bytes(self, scope: Scope) -> int:
        settings = self._state.settings
        if scope["method"] == "POST" and scope["path"] == "/v1/files":
            return settings.max_file_bytes + FORM_OVERHEAD_BYTES
        if UPLOAD_PART_PATH.fullmatch(scope["path"]):
            return self._part_bytes + FORM_OVERHEAD_BYTES
        if scope["path"].startswith(LONG_BODY_PATHS):
            return settings.max_body_bytes
        return min(settings.max_body_bytes, MAX_SHORT_BODY_BYTES)


def _lookup_key(session: Session, secret: str) -> Principal | AdminPrincipal | None:
    """Whom a secret speaks for. Both kinds are asked for alike: a prefix is no proof."""
    return principals.authenticate_project_key(
        session, secret
    ) or principals.authenticate_admin_key(session, secret)


def _bearer_token(exchange: RequestContext) -> str:
    """The key of `Authorization: Bearer KEY`, whatever characters it is made of."""
    if len(exchange.headers.getlist("authorization")) > 1:
        # A proxy in front may have judged the other one.
        raise Unauthenticated("Send the header Authorization once.")
    scheme, _, secret = exchange.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    query = exchange.scope["query_string"].decode("latin-1").lower()
    if any(pair.startswith(KEY_QUERY_PARAMS) for pair in query.split("&")):
        raise Unauthenticated(
            "An API key in the URL is not accepted, since URLs end up in logs. "
            "Send it as 'Authorization: Bearer YOUR_KEY'."
        )
    raise Unauthenticated


def _check_scope_header(exchange: RequestContext, what: str, *mine: str) -> None:
    """A client that says for whom it acts must be right: else it works in the wrong place."""
    asked = exchange.headers.getlist(f"openai-{what}")
    if any(name and name not in mine for name in asked):
        raise Unauthenticated(
            f"The header OpenAI-{what.capitalize()} names another {what} than the API key's. "
            f"Leave it out, or send {mine[0]}.",
            code=f"mismatched_{what}",
        )
