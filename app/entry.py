"""Entry point of the `luthier` command.

`luthier up` starts processes before the modules of all commands are imported, which takes longer
than a second.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

UP = (["up"], ["up", "--demo"])


def main() -> NoReturn:
    """Run the command of the process's arguments."""
    if sys.argv[1:] in UP:
        _up(sys.argv[1:])
    from app import cli

    cli.main()


def _up(arguments: Sequence[str]) -> NoReturn:
    """Do what the command `up` of `app.cli` does."""
    try:
        from app.local.operator_commands import record_command
        from app.local.up import up
        from app.process_hardening import forbid_inspection
        from app.settings import Settings

        with record_command(arguments):
            forbid_inspection()
            up(Settings(), demo="--demo" in arguments, echo=_echo)
    except BaseException as error:
        from app import cli

        cli.end(error)
    raise SystemExit(0)


def _echo(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
