"""Client of an OpenID Connect provider: discovery, exchange of codes, validation of id tokens.

Authorization-code flow with PKCE (OpenID Connect Core 1.0, section 3.1; RFC 7636). Its URLs are the
issuer's, which the operator sets, and those that the issuer's discovery document names; none comes
from a client.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, import_key
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ValidationError

from app import logs
from app.auth.oidc_login import OidcLogin
from app.settings import Settings

log = logs.get_logger(__name__)

# The limit of all requests of one step of a log-in together.
TIMEOUT_SECONDS = 10.0
MAX_RESPONSE_BYTES = 2**20
# Until the discovery document and the keys are read again.
METADATA_SECONDS = 3600.0
# Between two looks for a key that an id token names and the set does not have.
MIN_KEYS_AGE_SECONDS = 10.0
# After a failure, until the discovery document and the keys are asked for again: anyone may ask
# for a log-in.
RETRY_SECONDS = 3.0
# The difference of the two clocks that is no reason to refuse a token.
LEEWAY_SECONDS = 60
# Asymmetric ones only: with a secret that clients share, any of them could sign.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as one does. `str()` is a reason for the log."""


class LoginRejected(Exception):
    """The provider's answer does not prove who the user is. `str()` is a reason for the log."""


class Metadata(BaseModel):
    """A discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


@dataclass(frozen=True, slots=True)
class _Cached:
    metadata: Metadata
    keys: KeySet
    read_at: float


class OidcProvider:
    """The provider of the settings. One per process and event loop."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None
        assert settings.oidc_client_id is not None
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        secret = settings.oidc_client_secret
        self._client_secret = None if secret is None else secret.get_secret_value()
        self._scopes = settings.oidc_scopes
        self._claim = settings.oidc_claim
        self._tls: ssl.SSLContext | None = None
        self._cached: _Cached | None = None
        self._retry_at = 0.0
        self._lock = asyncio.Lock()

    async def build_login_url(self, login: OidcLogin, redirect_uri: str) -> str:
        """The provider's page that the browser opens. Raises ProviderUnavailable."""
        async with self._connect() as client:
            metadata = (await self._read(client)).metadata
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=login.state,
                code_verifier=login.code_verifier,
                redirect_uri=redirect_uri,
                nonce=login.nonce,
            )
        return str(url)

    async def fetch_claims(
        self, login: OidcLogin, code: str, issuer: str | None, redirect_uri: str
    ) -> dict[str, Any]:
        """Exchange a code for what the provider says of the user: the claims of a valid id token,
        and of the userinfo endpoint if the token has no claim for the roles.

        `issuer` is the one that the answer with the code names. Raises ProviderUnavailable or
        LoginRejected.
        """
        async with self._connect() as client:
            cached = await self._read(client)
            _check_issuer(cached.metadata, issuer)
            client.token_endpoint_auth_method = self._choose_auth_method(cached.metadata)
            try:
                token = await client.fetch_token(
                    cached.metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    redirect_uri=redirect_uri,
                    code_verifier=login.code_verifier,
                )
            except OAuthError as error:
                # RFC 6749, section 5.2: only this one is about the code, the others are about us.
                if error.error == "invalid_grant":
                    raise LoginRejected("the provider does not accept the code") from error
                raise ProviderUnavailable(f"token endpoint: {str(error.error)[:100]}") from error
            claims = await self._validate(client, cached, token, login)
            if self._claim.partition(".")[0] not in claims and self._claim not in claims:
                claims = await self._read_userinfo(client, cached.metadata, token, claims) | claims
        return claims

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Any]:
        """A client whose requests together are bounded in time, and each answer in size."""
        if self._tls is None:
            # Reads the system's certificates, which takes longer than a request.
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                AsyncOAuth2Client(
                    client_id=self._client_id,
                    client_secret=self._client_secret,
                    scope=self._scopes,
                    code_challenge_method="S256",
                    verify=self._tls,
                    timeout=TIMEOUT_SECONDS,
                    headers={"accept-encoding": "identity"},
                    event_hooks={"response": [_bound_response]},
                ) as client,
            ):
                yield client
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            raise ProviderUnavailable(f"{type(error).__name__}: {error}"[:300]) from error

    async def _read(self, client: Any, *, after: float | None = None) -> _Cached:
        """The discovery document and the keys, not older than an hour, or read after `after`."""
        oldest = time.monotonic() - METADATA_SECONDS if after is None else after
        async with self._lock:
            if self._cached is None or self._cached.read_at < oldest:
                if time.monotonic() < self._retry_at:
                    raise ProviderUnavailable("it has failed seconds ago, and is not asked again")
                try:
                    metadata = await self._discover(client)
                    keys = _import_keys(await _get_json(client, metadata.jwks_uri))
                except BaseException:
                    self._retry_at = time.monotonic() + RETRY_SECONDS
                    raise
                self._cached = _Cached(metadata, keys, time.monotonic())
            return self._cached

    async def _discover(self, client: Any) -> Metadata:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            metadata = Metadata.model_validate(await _get_json(client, url))
        except ValidationError as error:
            raise ProviderUnavailable(f"{url} is no discovery document") from error
        # Section 4.3: otherwise one issuer could speak for another.
        if metadata.issuer.rstrip("/") != self.issuer.rstrip("/"):
            raise ProviderUnavailable(f"{url} is of the issuer {metadata.issuer[:200]}")
        scheme = self.issuer.partition(":")[0]
        endpoints = (
            metadata.authorization_endpoint,
            metadata.token_endpoint,
            metadata.jwks_uri,
            metadata.userinfo_endpoint or self.issuer,
        )
        if not all(endpoint.startswith(("https://", f"{scheme}://")) for endpoint in endpoints):
            raise ProviderUnavailable(f"{url} names an endpoint without TLS")
        return metadata

    def _choose_auth_method(self, metadata: Metadata) -> str:
        if self._client_secret is None:
            return "none"
        # First, since it does not depend on how each side encodes special characters.
        is_post = "client_secret_post" in metadata.token_endpoint_auth_methods_supported
        return "client_secret_post" if is_post else "client_secret_basic"

    async def _validate(
        self, client: Any, cached: _Cached, token: Mapping[str, Any], login: OidcLogin
    ) -> dict[str, Any]:
        """The claims of the id token (section 3.1.3.7). Raises LoginRejected."""
        encoded = token.get("id_token")
        if not isinstance(encoded, str):
            raise LoginRejected("the provider sent no id token")
        try:
            try:
                decoded = _verify(encoded, cached.keys)
            except (InvalidKeyIdError, BadSignatureError):
                # The provider may have new keys.
                after = time.monotonic() - MIN_KEYS_AGE_SECONDS
                decoded = _verify(encoded, (await self._read(client, after=after)).keys)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": cached.metadata.issuer},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                },
                {
                    "nonce": login.nonce,
                    "client_id": self._client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            raise LoginRejected(f"id token: {error}"[:300]) from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject or not subject.isprintable():
            raise LoginRejected("id token: its subject is no printable text")
        return dict(claims)

    async def _read_userinfo(
        self, client: Any, metadata: Metadata, token: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Claims that the id token is too short for, as Okta's; empty without the endpoint.

        Raises LoginRejected for those of someone else (section 5.3.2).
        """
        if metadata.userinfo_endpoint is None or not isinstance(token.get("access_token"), str):
            return {}
        headers = {"authorization": f"Bearer {token['access_token']}"}
        userinfo = await _get_json(client, metadata.userinfo_endpoint, headers=headers)
        if userinfo.get("sub") != claims["sub"]:
            raise LoginRejected("the userinfo endpoint speaks of another user")
        return userinfo


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ProviderUnavailable(f"an answer has more than {MAX_RESPONSE_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_response(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ProviderUnavailable("an answer is compressed")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _BoundedStream(response.stream)


async def _get_json(client: Any, url: str, **options: Any) -> dict[str, Any]:
    response = await client.request("GET", url, withhold_token=True, **options)
    if response.status_code != 200:
        raise ProviderUnavailable(f"{url} answered with status {response.status_code}")
    answer = response.json()
    if not isinstance(answer, dict):
        raise ProviderUnavailable(f"{url} did not answer with an object")
    return answer


def _import_keys(answer: dict[str, Any]) -> KeySet:
    """Import a set of keys. Those that sign no id tokens, or are not understood, are left out, as
    RFC 7517, section 5, says. Raises ProviderUnavailable if there are no others."""
    documents = answer.get("keys")
    keys: list[Key] = []
    for document in documents if isinstance(documents, list) else []:
        # Of an unknown curve joserfc raises a KeyError.
        with suppress(JoseError, LookupError, ValueError, TypeError, AttributeError):
            if document.get("kty") in ("RSA", "EC", "OKP"):
                keys.append(import_key(document))
    if not keys:
        raise ProviderUnavailable("the provider has no key that can be read")
    return KeySet(keys)


def _check_issuer(metadata: Metadata, issuer: str | None) -> None:
    """Raise LoginRejected for the answer of another provider, which someone has swapped in.

    RFC 9207: providers that announce it name themselves in each answer.
    """
    if issuer is None and not metadata.authorization_response_iss_parameter_supported:
        return
    if issuer is None or issuer.rstrip("/") != metadata.issuer.rstrip("/"):
        raise LoginRejected("the answer does not name the provider")


def _verify(encoded: str, keys: KeySet) -> jwt.Token:
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    return jwt.decode(encoded, keys, registry=registry)
