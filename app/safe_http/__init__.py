"""HTTP POST to URLs that users give, safe against server-side request forgery (SSRF)."""
