"""Tokens with wrong claims or signatures, and the keys that they are checked with."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwk

from app.http.console_cookie import COOKIE_NAME
from tests.app.console.oidc.conftest import Client, run_console
from tests.identity_provider import CLIENT_ID, FakeProvider
from tests.live_api import Api


def sign_with_another_key(provider: FakeProvider, claims: dict[str, Any]) -> str:
    return provider.encode(claims, jwk.RSAKey.generate_key(2048))


def sign_with_the_public_key(provider: FakeProvider, claims: dict[str, Any]) -> str:
    """The public key is no secret; only as one of HS256 would it be taken for a signing key."""
    unsigned = encode_part({"alg": "HS256", "kid": provider.key.kid}) + "." + encode_part(claims)
    key = provider.key.as_pem(private=False)
    return f"{unsigned}.{encode_bytes(hmac.digest(key, unsigned.encode(), 'sha256'))}"


def sign_nothing(provider: FakeProvider, claims: dict[str, Any]) -> str:
    return f"{encode_part({'alg': 'none', 'kid': provider.key.kid})}.{encode_part(claims)}."


def encode_part(value: dict[str, Any]) -> str:
    return encode_bytes(json.dumps(value).encode())


def encode_bytes(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another log-in"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT_ID},
        {"aud": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iss": "https://evil.example"},
        {"iat": 9_000_000_000},
        {"sub": None},
        {"sub": {"$ne": ""}},
        {"sub": "u-1\0"},
        {"sub": "u-1\ud800"},
    ],
    ids=str,
)
def test_a_token_with_wrong_claims(client: Client, claims: dict[str, Any]) -> None:
    client.provider.claims |= claims
    response = client.log_in()
    assert response.status_code == 401
    assert "did not prove who you are" in response.text
    assert COOKIE_NAME not in client.cookies


@pytest.mark.parametrize(
    "sign", [sign_with_another_key, sign_with_the_public_key, sign_nothing, lambda *_: "a.b.c"]
)
def test_a_token_that_the_provider_has_not_signed(
    client: Client, sign: Callable[[FakeProvider, dict[str, Any]], str]
) -> None:
    client.provider.sign = sign
    assert client.log_in().status_code == 401
    assert COOKIE_NAME not in client.cookies


def test_new_keys_of_the_provider_are_found(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.oidc_provider.MIN_KEYS_AGE_SECONDS", 0)
    assert client.log_in().status_code == 200
    client.provider.key = jwk.RSAKey.generate_key(2048, auto_kid=True)
    assert client.log_in().status_code == 200


def test_tokens_with_wrong_signatures_do_not_make_us_ask_for_keys_each_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.oidc_provider.MIN_KEYS_AGE_SECONDS", 3600.0)
    assert client.log_in().status_code == 200
    client.provider.num_reads = 0
    client.provider.sign = sign_with_another_key
    assert [client.log_in().status_code for _ in range(3)] == [401, 401, 401]
    assert client.provider.num_reads == 0


@pytest.mark.parametrize(
    "odd_keys",
    [
        [{"kty": "AKP", "kid": "of the future"}],
        [{"kty": "EC", "crv": "brainpoolP256r1", "x": "AA", "y": "AA"}],
        [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc", "key_ops": ["verify"]}],
        [{"kty": "RSA"}, {"kty": ["RSA"]}, {}, "RSA", None, 1, [], {"kty": "OKP", "crv": None}],
    ],
    ids=str,
)
def test_keys_that_are_not_understood_are_left_out(
    api: Api, client: Client, odd_keys: list[Any]
) -> None:
    client.provider.odd_keys = odd_keys
    with run_console(api, client.provider.url) as console:
        client.console = console
        assert client.log_in().status_code == 200
