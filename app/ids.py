"""OpenAI-style ids: a prefix that names the kind, and random letters and digits."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits
ITEM_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}


def random_alphanumeric(length: int) -> str:
    """Letters and digits from a cryptographically secure source; 24 of them are 142 bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def file_id() -> str:
    return f"file-{random_alphanumeric(24)}"


def console_session_id() -> str:
    return f"csess_{random_alphanumeric(24)}"


def upload_id() -> str:
    return f"upload_{random_alphanumeric(24)}"


def part_id() -> str:
    return f"part_{random_alphanumeric(24)}"


def job_id() -> str:
    return f"ftjob-{random_alphanumeric(24)}"


def event_id() -> str:
    return f"ftevent-{random_alphanumeric(24)}"


def checkpoint_id() -> str:
    return f"ftckpt_{random_alphanumeric(24)}"


def export_id() -> str:
    return f"export_{random_alphanumeric(24)}"


def sweep_id() -> str:
    return f"ftsweep-{random_alphanumeric(24)}"


def batch_id() -> str:
    return f"batch_{random_alphanumeric(24)}"


def eval_id() -> str:
    return f"eval_{secrets.token_hex(16)}"


def eval_run_id() -> str:
    return f"evalrun_{secrets.token_hex(16)}"


def output_item_id() -> str:
    return f"outputitem_{secrets.token_hex(16)}"


def response_id() -> str:
    return f"resp_{secrets.token_hex(24)}"


def audit_log_id() -> str:
    return f"audit_log-{random_alphanumeric(24)}"


def conversation_id() -> str:
    return f"conv_{secrets.token_hex(24)}"


def item_id(kind: str) -> str:
    """Id of an item of a response or a conversation, by its type."""
    return f"{ITEM_PREFIXES[kind]}_{secrets.token_hex(24)}"


def model_tag() -> str:
    """The last part of a fine-tuned model's name: 8 characters, as OpenAI's."""
    return random_alphanumeric(8)


def organization_id() -> str:
    return f"org-{random_alphanumeric(24)}"


def project_id() -> str:
    return f"proj_{random_alphanumeric(24)}"


def key_id() -> str:
    return f"key_{random_alphanumeric(16)}"


def service_account_id() -> str:
    return f"svc_acct_{random_alphanumeric(24)}"


def permission_id() -> str:
    return f"cp_{random_alphanumeric(24)}"


def webhook_endpoint_id() -> str:
    return f"wh_{random_alphanumeric(24)}"


def webhook_event_id() -> str:
    return f"evt_{random_alphanumeric(24)}"


def webhook_delivery_id() -> str:
    return f"whd_{random_alphanumeric(24)}"


def request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def random_seed() -> int:
    """A training seed in OpenAI's range, 0 to 2**31 - 1."""
    return secrets.randbelow(2**31)
