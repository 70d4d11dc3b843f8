"""The `luthier evals` commands: evals of other services and tools, imported through the API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.eval_imports.plan import ImportFormat
from app.eval_imports.schemas import MAX_CONTENT_CHARS
from app.local.api_client import ApiFailed
from app.local.own_service import connect_to_service

evals_app = typer.Typer(no_args_is_help=True, help="Import evals.")


@evals_app.callback()
def _callback() -> None:
    """Keep the name of the only command, which Typer would leave out."""


@evals_app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(help="Export of OpenAI's evals (JSON), or promptfooconfig.yaml.")
    ],
    format_: Annotated[
        ImportFormat | None,
        typer.Option("--format", help="Format of the file; found out by default."),
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option("--judge-model", help="Model that judges where the file's are not here."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="URL of the service; this home's by default.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help="File with an API key; that of this home by default. Needed with --url.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Import evals into a running service, and print what of the file is left out or changed."""
    body: dict[str, Any] = {"content": _read(file)}
    if format_ is not None:
        body["format"] = format_
    if judge_model is not None:
        body["judge_model"] = judge_model
    with connect_to_service(url, key_file) as api:
        imported = api.post("/v1/evals/import", body)
    if as_json:
        typer.echo(json.dumps(imported, indent=2))
        return
    for each in imported["data"]:
        typer.echo(_format_eval(each))
    for difference in imported["differences"]:
        typer.echo(_format_difference(difference))


def _read(file: Path) -> str:
    """Read the file. Raises ApiFailed for one that the service would not take."""
    too_long = f"{file} has more than {MAX_CONTENT_CHARS:,} characters; import parts."
    try:
        # A character has up to 4 bytes. A device or a pipe says nothing of its length.
        with file.open("rb") as opened:
            read = opened.read(4 * MAX_CONTENT_CHARS + 1)
        if len(read) > 4 * MAX_CONTENT_CHARS:
            raise ApiFailed(too_long)
        content = read.decode()
    except OSError as error:
        raise ApiFailed(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ApiFailed(f"{file} is not a text in UTF-8.") from error
    if len(content) > MAX_CONTENT_CHARS:
        raise ApiFailed(too_long)
    return content


def _format_eval(imported: Mapping[str, Any]) -> str:
    parts = [imported["eval"]["id"], imported["eval"]["name"]]
    parts.append(f"{len(imported['eval']['testing_criteria'])} criteria")
    if imported["file"] is not None:
        parts.append(f"items in {imported['file']['id']}")
    if imported["runs"]:
        parts.append(f"{len(imported['runs'])} runs to create (--json shows them)")
    return "  ".join(filter(None, parts))


def _format_difference(difference: Mapping[str, Any]) -> str:
    outcome = difference["outcome"].replace("_", " ")
    places = ", ".join(difference["places"])
    rest = difference["count"] - len(difference["places"])
    more = f" and {rest} more" if rest else ""
    return f"{outcome}: {difference['subject']} in {places}{more}: {difference['reason']}"
