"""Record in the security log of the commands with which an operator changes the service."""

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from app.security_log import SecurityEvent, SecurityLog
from app.settings import Settings

# They change nothing.
READ_ONLY_COMMANDS = (
    "api",
    "data",
    "demo",
    "doctor",
    "jobs list",
    "jobs show",
    "keys list",
    "models",
    "projects usage",
    "sweeps list",
    "sweeps show",
)
# Commands of a read-only group that are recorded all the same.
RECORDED_COMMANDS = ("models add", "models export")


@contextmanager
def record_command(arguments: Sequence[str]) -> Iterator[None]:
    """Record a command and how it ended, unless it changes nothing."""
    exit_code: object = 1
    try:
        yield
        exit_code = 0
    except SystemExit as error:
        exit_code = error.code or 0
        raise
    finally:
        if _is_recorded(arguments):
            _write(arguments, exit_code)


def _is_recorded(arguments: Sequence[str]) -> bool:
    if not arguments or arguments[0].startswith("-") or "--help" in arguments:
        return False
    command = " ".join(arguments[:2])
    if command in RECORDED_COMMANDS:
        return True
    return arguments[0] not in READ_ONLY_COMMANDS and command not in READ_ONLY_COMMANDS


def _write(arguments: Sequence[str], exit_code: object) -> None:
    # A command with invalid settings has changed nothing.
    with suppress(ValidationError):
        SecurityLog(Settings().security_log_path, "command").write(
            SecurityEvent.OPERATOR_COMMAND,
            command=" ".join(arguments),
            exit_code=exit_code,
            user=get_user_name(),
        )


def get_user_name() -> str:
    """The user who runs this process; behind sudo, who called it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    caller = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {caller})" if caller else name
