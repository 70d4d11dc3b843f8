"""Signatures of webhooks, as standardwebhooks.com specifies them and OpenAI's SDKs verify them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """256 random bits in the form in which receivers are given them."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def secret_hint(secret: str) -> str:
    """Enough of a secret to tell which one it is, not enough to sign with it."""
    return f"{SECRET_PREFIX}…{secret[-4:]}"


def signature_headers(
    keys: Iterable[str], event_id: str, timestamp: int, body: str
) -> dict[str, str]:
    """What a receiver verifies. A signature for each key: it may know any one of them."""
    signed = f"{event_id}.{timestamp}.{body}".encode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_sign(key, signed) for key in keys),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
