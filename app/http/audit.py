"""Lines of the security log about requests that have been answered."""

import re

from app.auth.principals import AdminPrincipal, Principal
from app.http.client_address import rate_limit_name
from app.http.request_context import RequestContext
from app.security_log import SecurityEvent, SecurityLog

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Requests of a project that change a secret, or who receives its events.
SECRET_PATH = re.compile(r"/v1/webhook_endpoints(/[^/]+(/rotate_secret)?)?")
QUOTA_CODE_SUFFIX = "quota_exceeded"


def record_request(security_log: SecurityLog, context: RequestContext) -> None:
    """Record a refused request, a change by an admin key, and a change of a secret."""
    security_log.summarize_if_due()
    refusal = _refusal(context)
    if refusal is not None:
        security_log.count(refusal, **_refusal_fields(context))
    elif context.scope["method"] not in SAFE_METHODS:
        _record_change(security_log, context)


def _refusal(context: RequestContext) -> SecurityEvent | None:
    """The kind of refusal; None if the request was not refused for a reason of security."""
    if context.response_status == 401:
        return SecurityEvent.AUTHENTICATION_FAILED
    if context.response_status == 403:
        return SecurityEvent.ACCESS_DENIED
    is_quota = (context.error_code or "").endswith(QUOTA_CODE_SUFFIX)
    if context.response_status != 429 and not is_quota:
        return None
    if context.principal is None:
        return SecurityEvent.AUTHENTICATION_THROTTLED
    return SecurityEvent.LIMIT_REACHED


def _refusal_fields(context: RequestContext) -> dict[str, str | None]:
    # Of the request itself nothing: equal fields are counted together.
    fields = {"address": rate_limit_name(context.client_address), "code": context.error_code}
    if context.rejection is not None:
        rejection = context.rejection
        return {
            **fields,
            "reason": rejection.reason,
            "key": rejection.key_id,
            "project": rejection.project_id,
        }
    return {**fields, "key": context.key_id, "project": context.project_id}


def _record_change(security_log: SecurityLog, context: RequestContext) -> None:
    request = {
        "method": context.scope["method"],
        "path": context.scope["path"],
        "status": str(context.response_status),
        "key": context.key_id,
        "project": context.project_id,
    }
    if isinstance(context.principal, AdminPrincipal):
        security_log.write(SecurityEvent.ADMIN_REQUEST, **request)
    elif isinstance(context.principal, Principal) and SECRET_PATH.fullmatch(request["path"] or ""):
        # Counted: a project may send thousands of them.
        address = rate_limit_name(context.client_address)
        security_log.count(SecurityEvent.SECRET_REQUEST, address=address, **request)
