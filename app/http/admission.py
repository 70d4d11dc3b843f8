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
from app.auth.principals import Admin, Principal
from app.errors import (
    InvalidRequest,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from app.http.dependencies import Parts, ask_statement
from app.http.rate_limits import Limits, LocalBuckets, duration
from app.http.request_context import Exchange

# Room for the multipart form around an uploaded file.
FORM_BYTES = 2**20
# Each holds memory, and a stream its engine's too: beyond this, waiting elsewhere is faster.
MOST_AT_ONCE = 1000
# Whoever watches over the process must hear that it lives, above all when it is busy.
ALWAYS_ANSWERED = ("/healthz", "/readyz")
# Wrong keys of one address in a minute. Nobody guesses 256 bits, but each guess asks the database.
GUESSES = Limits(requests=1000, bytes=1)
# Only texts for models may be long: what everything else is asked for never is.
SHORT_BODY_BYTES = 2**20
LONG = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/classify",
    "/models/",
)
PARTS = re.compile(r"/v1/uploads/[^/]+/parts")
KEY_IN_URL = ("api_key=", "api-key=", "key=")


class Guard:
    """ASGI middleware around the routes."""

    def __init__(
        self, app: ASGIApp, *, parts: Parts, part_bytes: int, most_at_once: int = MOST_AT_ONCE
    ) -> None:
        self._app = app
        self._part_bytes = part_bytes
        self._parts = parts
        self._most_at_once = most_at_once
        self._inside = 0
        self._shares: Counter[str] = Counter()
        self._guesses = LocalBuckets(GUESSES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            try:
                await self._serve(exchange)
            finally:
                exchange.report()
                await self._pay(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            with self._place(exchange.scope["path"]):
                await self._admit(exchange)
                with self._share(exchange.principal):
                    await self._app(exchange.for_app(), exchange.receive, exchange.send)
        except ClientDisconnect:
            return
        except Exception as error:
            await exchange.fail(error)

    async def _pay(self, exchange: Exchange) -> None:
        """Take what no length had declared from the key's bytes, now that it has come."""
        undeclared = exchange.undeclared_bytes()
        if exchange.principal is not None and undeclared:
            await self._parts.rates.take(exchange.principal.key_id, undeclared, count=0)

    @contextmanager
    def _place(self, path: str) -> Iterator[None]:
        """One of the places there are for requests. Raises Unavailable if all are taken."""
        if path in ALWAYS_ANSWERED:
            yield
            return
        if self._inside >= self._most_at_once:
            raise Unavailable("Too many requests are being served. Try again in a moment.")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _admit(self, exchange: Exchange) -> None:
        """Raises the error that a request deserves before anything of it is read."""
        path, query = exchange.scope["path"], exchange.scope["query_string"]
        if "\0" in path:
            raise NotFound("Invalid URL: it holds a NUL character.")
        if b"%00" in query:
            raise InvalidRequest("The URL's query holds a NUL character.")
        if path.startswith(("/v1/", "/models/")) or path == "/metrics":
            exchange.principal = await self._principal(exchange)
            exchange.scope["principal"] = exchange.principal
        if exchange.headers.get("content-encoding", "identity") != "identity":
            raise Unsupported("Send the body as it is: compressed bodies are not supported.")
        exchange.body_limit = self._body_limit(exchange.scope)
        if exchange.declared_bytes() > exchange.body_limit:
            raise TooLarge(f"The body is larger than {exchange.body_limit} bytes.")
        if exchange.principal is not None:
            await self._take(exchange, exchange.principal)

    async def _take(self, exchange: Exchange, principal: Principal | Admin) -> None:
        """Raises RateLimited if the key has asked for too much in the last minute."""
        rate = await self._parts.rates.take(principal.key_id, exchange.declared_bytes())
        exchange.rate = rate
        if not rate.allowed:
            what = "requests" if rate.requests < 1 else "bytes"
            limit = rate.limits.requests if rate.requests < 1 else rate.limits.bytes
            raise RateLimited(
                f"Rate limit reached for {what} per minute: Limit {limit}. "
                f"Please try again in {duration(rate.retry_after)}."
            )

    @contextmanager
    def _share(self, principal: Principal | Admin | None) -> Iterator[None]:
        """One of the places of a key. Raises RateLimited if all are taken."""
        if principal is None:
            yield
            return
        most = self._parts.settings.key_requests_at_once
        if self._shares[principal.key_id] >= most:
            raise RateLimited(f"{most} requests of this key are being served. Wait for one to end.")
        self._shares[principal.key_id] += 1
        try:
            yield
        finally:
            self._shares[principal.key_id] -= 1
            if not self._shares[principal.key_id]:
                del self._shares[principal.key_id]

    async def _principal(self, exchange: Exchange) -> Principal | Admin:
        secret = _secret(exchange)
        principal = await ask_statement(self._parts, lambda session: _owner(session, secret))
        if principal is None:
            self._count_guess(exchange)
            raise Unauthenticated(
                f"Incorrect API key provided: {secrets.redact(secret)}. "
                "Make one with `luthier keys create`."
            )
        _require_same(exchange, "organization", principal.organization_id, principal.organization)
        # An admin key is above projects; its client may name the one it works in otherwise.
        if isinstance(principal, Principal):
            _require_same(exchange, "project", principal.project_id)
        return principal

    def _count_guess(self, exchange: Exchange) -> None:
        """Raises RateLimited for an address that guesses keys. Right keys are never counted, so
        that nobody can lock others out who come from the same address."""
        address, _ = exchange.scope["client"] or ("", 0)
        if not self._guesses.take(address).allowed:
            raise RateLimited("Too many wrong API keys. Try again in a minute.")

    def _body_limit(self, scope: Scope) -> int:
        settings = self._parts.settings
        if scope["method"] == "POST" and scope["path"] == "/v1/files":
            return settings.max_file_bytes + FORM_BYTES
        if PARTS.fullmatch(scope["path"]):
            return self._part_bytes + FORM_BYTES
        if scope["path"].startswith(LONG):
            return settings.max_body_bytes
        return min(settings.max_body_bytes, SHORT_BODY_BYTES)


def _owner(session: Session, secret: str) -> Principal | Admin | None:
    """Whom a secret speaks for. Both kinds are asked for alike: a prefix is no proof."""
    return principals.authenticate(session, secret) or principals.authenticate_admin(
        session, secret
    )


def _secret(exchange: Exchange) -> str:
    """The key of `Authorization: Bearer KEY`, whatever characters it is made of."""
    if len(exchange.headers.getlist("authorization")) > 1:
        # A proxy in front may have judged the other one.
        raise Unauthenticated("Send the header Authorization once.")
    scheme, _, secret = exchange.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    query = exchange.scope["query_string"].decode("latin-1").lower()
    if any(pair.startswith(KEY_IN_URL) for pair in query.split("&")):
        raise Unauthenticated(
            "An API key in the URL is not accepted, since URLs end up in logs. "
            "Send it as 'Authorization: Bearer YOUR_KEY'."
        )
    raise Unauthenticated


def _require_same(exchange: Exchange, what: str, *mine: str) -> None:
    """A client that says for whom it acts must be right: else it works in the wrong place."""
    asked = exchange.headers.getlist(f"openai-{what}")
    if any(name and name not in mine for name in asked):
        raise Unauthenticated(
            f"The header OpenAI-{what.capitalize()} names another {what} than the API key's. "
            f"Leave it out, or send {mine[0]}.",
            code=f"mismatched_{what}",
        )
