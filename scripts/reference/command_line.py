"""The `luthier` commands, from the Typer application."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from app import cli
from scripts.reference.markdown import code, one_line, table

VALUE_NAMES: Mapping[str, str] = {"int": "NUMBER", "float": "NUMBER", "str": "TEXT"}


def lines() -> Iterator[str]:
    """A section per command: help, usage, arguments and options."""
    yield from _sections(typer.main.get_command(cli.app), "luthier")


# Commands and parameters are of classes that Typer does not export: hence `Any`.
def _sections(command: Any, name: str) -> Iterator[str]:
    subcommands: Mapping[str, Any] = getattr(command, "commands", {})
    if not subcommands or command.invoke_without_command:
        yield from _section(command, name)
    for sub_name, subcommand in subcommands.items():
        yield from _sections(subcommand, f"{name} {sub_name}")


def _section(command: Any, name: str) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = [name, *(["[OPTIONS]"] if options else []), *map(_value_name, arguments)]
    yield from (f"## {name}", "", one_line(command.help or ""), "")
    yield from ("```text", " ".join(usage), "```", "")
    rows = [
        *([code(_value_name(each)), "", each.help or ""] for each in arguments),
        *([code(_flags(each)), _default(each), each.help or ""] for each in options),
    ]
    if rows:
        yield from (*table(["Argument or option", "Default", "Description"], rows), "")


def _value_name(argument: Any) -> str:
    return str(argument.name).upper()


def _flags(option: Any) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return names
    kind = str(option.bare_type())
    return f"{names} {VALUE_NAMES.get(kind, kind.upper())}"


def _default(option: Any) -> str:
    return "" if option.default in (None, False) else code(option.default)
