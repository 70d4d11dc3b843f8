"""A fake identity provider, whose id tokens may be wrong in any way that a test wants."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, Response
from joserfc import jwk, jws

CLIENT_ID = "luthier"
CLIENT_SECRET = "hunter2-&%+"


@dataclass
class FakeProvider:
    """A provider with one user, who has logged in already; `claims` are added to the id token.

    It checks PKCE and the client's secret, and takes any code once.
    """

    url: str = ""
    # Of the browser's last request: what it asks for, as the authorization endpoint got it.
    challenge: str = ""
    nonce: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    key: jwk.Key = field(default_factory=lambda: jwk.RSAKey.generate_key(2048, auto_kid=True))
    sign: Callable[["FakeProvider", dict[str, Any]], str] | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    padding: int = 0
    used_codes: set[str] = field(default_factory=set)
    odd_keys: list[dict[str, Any]] = field(default_factory=list)
    # Requests for the discovery document and for the keys.
    num_reads: int = 0

    def reset(self) -> None:
        """Return to an honest provider of the user Jane, in the group `ml`."""
        self.claims = {"groups": ["ml"]}
        self.userinfo = {}
        self.sign = None
        self.discovery = {}
        self.padding = 0
        self.odd_keys = []
        self.num_reads = 0

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/.well-known/openid-configuration", self.describe)
        app.add_api_route("/jwks", self.list_keys)
        app.add_api_route("/token", self.issue, methods=["POST"])
        app.add_api_route("/userinfo", self.show_user)
        return app

    def describe(self) -> Response:
        self.num_reads += 1
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "padding": "x" * self.padding,
        }
        return JSONResponse(document | self.discovery)

    def list_keys(self) -> Response:
        self.num_reads += 1
        return JSONResponse({"keys": [*self.odd_keys, self.key.as_dict(private=False)]})

    def issue(
        self,
        code: str = Form(),
        client_id: str = Form(),
        client_secret: str = Form(),
        code_verifier: str = Form(),
    ) -> Response:
        if (client_id, client_secret) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        digest = hashlib.sha256(code_verifier.encode()).digest()
        is_same_browser = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == self.challenge
        if code in self.used_codes or not is_same_browser:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.used_codes.add(code)
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": "u-1", "iat": now, "exp": now + 300}
        claims |= {"nonce": self.nonce, "preferred_username": "jane"} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        token = self.sign(self, claims) if self.sign else self.encode(claims)
        return JSONResponse({"id_token": token, "access_token": "access", "token_type": "Bearer"})

    def show_user(self, request: Request) -> Response:
        if request.headers["authorization"] != "Bearer access":
            return JSONResponse({}, 401)
        return JSONResponse({"sub": "u-1"} | self.userinfo)

    def encode(self, claims: dict[str, Any], key: jwk.Key | None = None, **header: Any) -> str:
        """Sign claims, with the provider's own key unless given."""
        header = {"alg": "RS256", "kid": self.key.kid} | header
        # Not by joserfc's `jwt`, which cannot encode texts that are no Unicode.
        payload = json.dumps(claims)
        return jws.serialize_compact(header, payload, key or self.key, algorithms=[header["alg"]])
