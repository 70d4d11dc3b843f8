"""One log-in through an identity provider: what its browser keeps, and what the provider gets."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

MAX_NEXT_CHARS = 500


@dataclass(frozen=True, slots=True)
class OidcLogin:
    """A log-in that has begun. All of it is derived from `secret`, which is in a cookie of the
    browser and nowhere else: no table fills with log-ins that nobody completes.

    `next_path` is the console's page to open in the end. The provider carries it in `state`.
    """

    secret: str
    next_path: str

    @classmethod
    def begin(cls, next_path: str) -> "OidcLogin":
        is_short = len(next_path) <= MAX_NEXT_CHARS
        return cls(secrets.token_urlsafe(32), next_path if is_short else "")

    @classmethod
    def resume(cls, secret: str | None, state: str) -> "OidcLogin | None":
        """The log-in that `state` belongs to; None if this browser has not begun it."""
        if not secret:
            return None
        encoded = state.partition(".")[2]
        try:
            next_path = base64.urlsafe_b64decode(encoded).decode()
        except ValueError:
            return None
        login = cls(secret, next_path)
        is_own = hmac.compare_digest(login.state.encode(), state.encode("utf-8", "replace"))
        return login if is_own else None

    @property
    def state(self) -> str:
        """The text that binds the provider's answer to this browser, and to the page to open."""
        encoded = base64.urlsafe_b64encode(self.next_path.encode("utf-8", "replace")).decode()
        return f"{self._derive('state', self.next_path)}.{encoded}"

    @property
    def nonce(self) -> str:
        """The text that binds the id token to this browser."""
        return self._derive("nonce")

    @property
    def code_verifier(self) -> str:
        """The secret without which the code is useless (PKCE, RFC 7636)."""
        return self._derive("code_verifier")

    def _derive(self, *purpose: str) -> str:
        message = "\0".join(purpose).encode("utf-8", "replace")
        return hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
