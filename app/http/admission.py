"""ASGI middleware: authentication, body-size, rate and concurrency limits, and the last-resort
error response.

Not a FastAPI dependency: FastAPI reads the body before dependencies run, and a request rejected
here costs no more than its headers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import console_sessions, principals, secrets
from app.auth.principals import AdminPrincipal, Principal
from app.auth.rejected_keys import explain_rejection
from app.errors import (
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.http import audit, metrics
from app.http.access_log import AccessLog
from app.http.client_address import ProxyHeader, find_client_address, rate_limit_name
from app.http.console_cookie import (
    CONSOLE_API_PATH,
    CONSOLE_PATH,
    CONSOLE_STATIC_PATH,
    choose_session_cookie,
)
from app.http.dependencies import AppState, run_autocommit
from app.http.fair_limiter import FairLimiter, request_owner
from app.http.openapi import requires_key
from app.http.rate_limits import InMemoryRateLimiter, RateLimit, format_duration
from app.http.request_context import RequestContext
from app.http_server.protocol import LISTENER_PATH

# The multipart form around an uploaded file.
FORM_OVERHEAD_BYTES = 2**20
# Each occupies memory, a stream also the engine's: beyond this, clients should retry later.
MAX_CONCURRENT_REQUESTS = 1000
# What one project may take of the slots that the others leave.
MAX_REQUEST_SHARE = 0.5
# Of these, what requests without a key may take: the documentation pages. Nobody is known by then
# who could be given a share, so together they may not keep a key's requests out.
MAX_KEYLESS_REQUESTS = 64
# Of these, what one address may take: it could hold them by bodies that it sends slowly.
MAX_KEYLESS_REQUESTS_PER_ADDRESS = 16
# Exempt from the limits: an orchestrator must not restart a process for being busy.
PROBE_PATHS = ("/healthz", "/readyz")
# Failed authentications of one address per minute. No one can guess 256 bits, but each attempt is a
# database query.
FAILED_AUTH_LIMIT = RateLimit(requests=1000, bytes=1)
# Only the inputs of models may be long; the bodies of other routes never are.
MAX_SHORT_BODY_BYTES = 2**20
LONG_BODY_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/classify",
    "/v1/responses",
    "/models/",
    "/console/evaluations/import",
)
UPLOAD_PART_PATH = re.compile(r"/v1/uploads/[^/]+/parts")
KEY_QUERY_PARAMS = ("api_key=", "api-key=", "key=")


class AdmissionMiddleware:
    """Middleware that checks requests before their bodies are read, and answers all errors."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: AppState,
        max_part_bytes: int,
        max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS,
    ) -> None:
        self._app = app
        self._max_part_bytes = max_part_bytes
        self._state = state
        self._max_concurrent_requests = max_concurrent_requests
        self._project_slots = FairLimiter(max_concurrent_requests, share=MAX_REQUEST_SHARE)
        self._in_flight = 0
        self._in_flight_keyless: Counter[str] = Counter()
        self._in_flight_by_key: Counter[str] = Counter()
        self._access_log = AccessLog()
        self._failed_auth_limiter = InMemoryRateLimiter(FAILED_AUTH_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings = self._state.settings
        address = find_client_address(
            scope, settings.trusted_proxies, ProxyHeader(settings.proxy_header)
        )
        context = RequestContext(scope, receive, send, client_address=address)
        scope["client_address"] = address
        # A connection's next request may start in the context of the one before it.
        request_owner.set("")
        with structlog.contextvars.bound_contextvars(
            request_id=context.request_id, address=address
        ):
            try:
                await self._serve(context)
            finally:
                self._access_log.write(**context.log_fields())
                metrics.record(
                    context.routed_scope, status=context.status, seconds=context.elapsed_seconds
                )
                audit.record_request(self._state.security_log, context)
                await context.charge_undeclared_bytes()

    async def _serve(self, context: RequestContext) -> None:
        try:
            with ExitStack() as slots:
                slots.enter_context(self._global_slot(context.scope["path"]))
                await self._check_request(context)
                is_listener = LISTENER_PATH.fullmatch(context.scope["path"]) is not None
                if is_listener and context.principal is not None:
                    slots.close()
                    slots.enter_context(self._listener_slot(context.principal))
                else:
                    slots.enter_context(self._keyless_slot(context))
                    slots.enter_context(self._project_slot(context.principal))
                    slots.enter_context(self._key_slot(context.principal))
                await self._app(context.app_scope(), context.receive, context.send)
        except ClientDisconnect:
            return
        except Exception as error:
            await context.send_error(error)

    @contextmanager
    def _global_slot(self, path: str) -> Iterator[None]:
        """Hold one of the process's request slots. Raises ServiceUnavailable if all are taken."""
        if path in PROBE_PATHS:
            yield
            return
        if self._in_flight >= self._max_concurrent_requests:
            raise ServiceUnavailable("Too many concurrent requests. Please retry in a moment.")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _check_request(self, context: RequestContext) -> None:
        """Authenticate and apply all limits that need only the headers. Raises an ApiError."""
        path, query = context.scope["path"], context.scope["query_string"]
        if "\0" in path:
            raise NotFound("Invalid URL: it contains a NUL character.")
        if b"%00" in query:
            raise InvalidRequest("The URL's query contains a NUL character.")
        if requires_key(path):
            context.principal = await self._authenticate(context)
            context.scope["principal"] = context.principal
        elif path.startswith(CONSOLE_PATH) and not path.startswith(CONSOLE_STATIC_PATH):
            context.principal = await self._authenticate_session(context)
        if context.principal is not None:
            request_owner.set(_owner_id(context.principal))
        if context.headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMediaType(
                "Compressed request bodies are not supported. Send the body uncompressed."
            )
        context.max_body_bytes = self._max_body_bytes(context.scope)
        if context.declared_bytes() > context.max_body_bytes:
            raise PayloadTooLarge(
                f"The request body is larger than {context.max_body_bytes} bytes."
            )
        # Calls of the console are charged once, as the request for the page that they are made for.
        if context.principal is not None and "console_principal" not in context.scope:
            await self._rate_limit(context, context.principal)

    async def _rate_limit(
        self, context: RequestContext, principal: Principal | AdminPrincipal
    ) -> None:
        """Charge the request to its key. Raises RateLimited if the key exceeds its rate limit."""
        limiter, key_id = self._state.rate_limiter, principal.key_id
        context.charge_bytes = lambda size: limiter.take(key_id, size, count=0)
        status = await limiter.take(key_id, context.declared_bytes())
        context.rate_limit_status = status
        if not status.allowed:
            out_of_requests = status.remaining_requests < 1
            unit = "requests" if out_of_requests else "bytes"
            limit = status.limit.requests if out_of_requests else status.limit.bytes
            raise RateLimited(
                f"Rate limit reached for {unit} per minute: Limit {limit}. "
                f"Please try again in {format_duration(status.retry_after)}."
            )

    @contextmanager
    def _keyless_slot(self, context: RequestContext) -> Iterator[None]:
        """Hold one of the slots of requests without a key. Raises ServiceUnavailable."""
        if context.principal is not None or context.scope["path"] in PROBE_PATHS:
            yield
            return
        address = rate_limit_name(context.client_address)
        held, of_all = self._in_flight_keyless, self._in_flight_keyless.total()
        if held[address] >= MAX_KEYLESS_REQUESTS_PER_ADDRESS or of_all >= MAX_KEYLESS_REQUESTS:
            raise ServiceUnavailable(
                "Too many concurrent requests without an API key. Please retry in a moment."
            )
        held[address] += 1
        try:
            yield
        finally:
            held[address] -= 1
            if not held[address]:
                del held[address]

    @contextmanager
    def _listener_slot(self, principal: Principal | AdminPrincipal) -> Iterator[None]:
        """Hold a slot of streams that stay open, which would otherwise take those of requests.
        Raises RateLimited if the project has none left.

        Keys have no limit of their own: many tabs of one user listen with the same.
        """
        owner = _owner_id(principal)
        if not self._state.listener_slots.try_acquire(owner):
            held = self._state.listener_slots.held_by(owner)
            raise RateLimited(
                f"This project already has {held} open streams of changes, its share of what the "
                "server can do. Close one."
            )
        try:
            yield
        finally:
            self._state.listener_slots.release(owner)

    @contextmanager
    def _project_slot(self, principal: Principal | AdminPrincipal | None) -> Iterator[None]:
        """Hold a slot in the project's share of them. Raises RateLimited if it has none left."""
        if principal is None:
            yield
            return
        owner = _owner_id(principal)
        if not self._project_slots.try_acquire(owner):
            held = self._project_slots.held_by(owner)
            raise RateLimited(
                f"This project already has {held} concurrent requests, its "
                "share of what the server can do. Wait for one to complete."
            )
        try:
            yield
        finally:
            self._project_slots.release(owner)

    @contextmanager
    def _key_slot(self, principal: Principal | AdminPrincipal | None) -> Iterator[None]:
        """Hold one of the key's request slots. Raises RateLimited if all are taken."""
        if principal is None:
            yield
            return
        limit = self._state.settings.max_concurrent_requests_per_key
        if self._in_flight_by_key[principal.key_id] >= limit:
            raise RateLimited(
                f"This key already has {limit} concurrent requests. Wait for one to complete."
            )
        self._in_flight_by_key[principal.key_id] += 1
        try:
            yield
        finally:
            self._in_flight_by_key[principal.key_id] -= 1
            if not self._in_flight_by_key[principal.key_id]:
                del self._in_flight_by_key[principal.key_id]

    async def _authenticate_session(
        self, context: RequestContext
    ) -> Principal | AdminPrincipal | None:
        """Find the user of the console's cookie; None for one who has to log in."""
        secret = choose_session_cookie(context.scope, self._state.settings).read(context.scope)
        if secret is None:
            return None
        request_owner.set(secrets.compute_digest(secret).hex())
        identity = await run_autocommit(
            self._state, lambda session: console_sessions.authenticate(session, secret)
        )
        if identity is None:
            self._rate_limit_failed_auth(context)
            return None
        context.scope["console_identity"] = identity
        return identity.principal

    async def _authenticate(self, context: RequestContext) -> Principal | AdminPrincipal:
        # The console calls the API in this process, for a user whose session was checked above. A
        # client cannot add keys to the scope.
        caller: Principal | AdminPrincipal | None = context.scope.get("console_principal")
        if caller is not None:
            return caller
        secret = _bearer_token(context)
        # Until the project is known, those who send the same secret wait for each other alone.
        request_owner.set(secrets.compute_digest(secret).hex())
        principal = await run_autocommit(
            self._state, lambda session: principals.authenticate(session, secret)
        )
        if principal is None:
            self._rate_limit_failed_auth(context)
            context.rejection = await run_autocommit(
                self._state, lambda session: explain_rejection(session, secret)
            )
            raise Unauthenticated(
                f"Incorrect API key provided: {secrets.redact(secret)}. "
                "Create one with `luthier keys create`."
            )
        _check_scope_header(
            context, "organization", principal.organization_id, principal.organization_slug
        )
        # An admin key covers all projects; its client may send the header it uses with other keys.
        if isinstance(principal, Principal):
            _check_scope_header(context, "project", principal.project_id)
        return principal

    def _rate_limit_failed_auth(self, context: RequestContext) -> None:
        """Count a failed authentication. Raises RateLimited for an address with too many.

        Requests with a valid key are never counted, so one client cannot lock out others behind
        the same address.
        """
        name = rate_limit_name(context.client_address)
        if not self._failed_auth_limiter.take(name).allowed:
            raise RateLimited("Too many requests with incorrect API keys. Retry in a minute.")

    def _max_body_bytes(self, scope: Scope) -> int:
        settings = self._state.settings
        path = scope["path"].removeprefix(CONSOLE_API_PATH)
        if scope["method"] == "POST" and path == "/v1/files":
            return settings.max_file_bytes + FORM_OVERHEAD_BYTES
        if UPLOAD_PART_PATH.fullmatch(path):
            return self._max_part_bytes + FORM_OVERHEAD_BYTES
        if path.startswith(LONG_BODY_PATHS):
            return settings.max_body_bytes
        return min(settings.max_body_bytes, MAX_SHORT_BODY_BYTES)


def _owner_id(principal: Principal | AdminPrincipal) -> str:
    """The project, or the organization of an admin key, that shares are for."""
    if isinstance(principal, Principal):
        return principal.project_id
    return principal.organization_id


def _bearer_token(context: RequestContext) -> str:
    """The secret in `Authorization: Bearer SECRET`. Raises Unauthenticated if there is none."""
    if len(context.headers.getlist("authorization")) > 1:
        # A proxy in front may have checked the other one.
        raise Unauthenticated("Send the Authorization header once.")
    scheme, _, secret = context.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    query = context.scope["query_string"].decode("latin-1").lower()
    if any(pair.startswith(KEY_QUERY_PARAMS) for pair in query.split("&")):
        raise Unauthenticated(
            "An API key in the URL is not accepted, since URLs end up in logs. "
            "Send it as 'Authorization: Bearer YOUR_KEY'."
        )
    raise Unauthenticated


def _check_scope_header(context: RequestContext, scope: str, *expected: str) -> None:
    """Raise Unauthenticated if OpenAI-Organization or OpenAI-Project is not the key's own: the
    client would use another project than it intends."""
    sent = context.headers.getlist(f"openai-{scope}")
    if any(name and name not in expected for name in sent):
        raise Unauthenticated(
            f"The header OpenAI-{scope.capitalize()} names a different {scope} than the API key. "
            f"Omit it, or send {expected[0]}.",
            code=f"mismatched_{scope}",
        )
