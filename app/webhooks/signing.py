"""Webhook signatures by the Standard Webhooks specification, as OpenAI's SDKs verify them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32


def generate_secret() -> str:
    """Generate a signing secret: 256 random bits, base64-encoded, with the prefix `whsec_`."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def redact_secret(secret: str) -> str:
    """Redact a secret to its last four characters: enough to recognize it."""
    return f"{SECRET_PREFIX}…{secret[-4:]}"


def build_signature_headers(
    keys: Iterable[str], event_id: str, timestamp: int, body: str
) -> dict[str, str]:
    """Sign `{event_id}.{timestamp}.{body}` with HMAC-SHA256, once with each secret.

    During a rotation a receiver may know either secret; one matching signature is enough.
    """
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
