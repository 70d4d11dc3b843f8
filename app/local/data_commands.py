"""The `luthier data` commands: check training files, and convert public datasets to them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Annotated, Any

import orjson
import typer

from app.formats import MAX_ERRORS, DatasetValidator, render_report
from app.formats.conversion import Conversion, ConversionOptions, UnreadableSource
from app.formats.errors import LineError
from app.formats.layouts import Layout
from app.local.job_estimate import estimate_file, format_estimate
from app.local.own_service import connect_to_service

READ_CHUNK_BYTES = 2**20
MAX_SHOWN_ERRORS = 20

data_app = typer.Typer(no_args_is_help=True, help="Check and convert training files.")


class ConversionFailed(Exception):
    """A file cannot be converted; the message is a sentence for the user."""


@data_app.command("check")
def check_data(
    file: Annotated[Path, typer.Argument(help="JSONL file.")],
    all_errors: Annotated[
        bool, typer.Option("--all", help="List every error instead of one line per kind.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Estimate a job on this model by the running service, and delete the "
            "file there again."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method of the job; supervised by default.")
    ] = None,
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option(help="Hyperparameter of the job, NAME=VALUE; may be repeated."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="URL of the service; this home's by default.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with an API key; this home's by default. Needed with --url."),
    ] = None,
) -> None:
    """Validate a training file exactly as an upload does; with --model, estimate a job on it."""
    validator = DatasetValidator(max_errors=MAX_ERRORS)
    try:
        with file.open("rb") as data:
            while chunk := data.read(READ_CHUNK_BYTES):
                validator.feed(chunk)
    except OSError as error:
        typer.echo(f"{file} cannot be read: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    report = validator.finish()
    for line in render_report(report, all_errors=all_errors):
        typer.echo(line)
    if report.error_count:
        raise typer.Exit(1)
    if model is None and (method or hyperparameter):
        option = "--method" if method else "--hyperparameter"
        raise typer.BadParameter("it is of a job: name its --model.", param_hint=option)
    if model is not None:
        with connect_to_service(url, key_file) as api:
            estimate = estimate_file(
                api,
                file,
                model=model,
                method=method,
                hyperparameters=_parse_hyperparameters(hyperparameter or ()),
            )
        for line in format_estimate(estimate):
            typer.echo(line)


@data_app.command("convert")
def convert_data(
    file: Annotated[
        Path, typer.Argument(help="JSON Lines, a JSON document, or CSV/TSV with a header.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Training file; FILE.converted.jsonl by default."),
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option("--from", help="Layout of FILE; recognized by default.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="Column to rename first, OLD=NEW; may be repeated."),
    ] = None,
    label_names: Annotated[
        str, typer.Option(help="Names of the labels 0, 1, 2, …, separated by commas.")
    ] = "",
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Leave out rows that cannot be converted.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output if it exists.")
    ] = False,
) -> None:
    """Convert a public dataset to a training file, checked as an upload does.

    Understands Alpaca and Dolly, ShareGPT, pairs (question and answer, prompt and response),
    prompt/chosen/rejected, SQuAD, and texts with labels, as JSON Lines, JSON arrays, CSV and TSV.
    """
    target = output or file.with_name(f"{file.stem}.converted.jsonl")
    names = [name.strip() for name in label_names.split(",") if name.strip()]
    options = ConversionOptions(_parse_renames(rename or ()), names)
    conversion = Conversion(file, options, layout)
    try:
        _convert_file(conversion, target, skip_errors=skip_errors, force=force)
    except (ConversionFailed, UnreadableSource) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"{error.filename or file}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    for line in _summarize(conversion, target):
        typer.echo(line)


def _convert_file(conversion: Conversion, target: Path, *, skip_errors: bool, force: bool) -> None:
    """Write the training file as a whole, or not at all."""
    if target.exists() and not force:
        raise ConversionFailed(f"{target} exists. Use --force to replace it, or --output.")
    with _replaced(target) as file:
        file.writelines(_valid_lines(conversion))
        if conversion.error_count and not skip_errors:
            raise ConversionFailed(
                f"{conversion.error_count:,} rows cannot be converted, so nothing was written. "
                "Correct them, or leave them out with --skip-errors."
            )
        if not conversion.row_count:
            raise ConversionFailed("The file has no row that can be converted.")


def _valid_lines(conversion: Conversion) -> Iterable[bytes]:
    """Yield the converted lines, and print the first errors."""
    for line in conversion.lines():
        if not isinstance(line, LineError):
            yield line
        elif conversion.error_count <= MAX_SHOWN_ERRORS:
            typer.echo(f"line {line.line}: {line.reason}", err=True)


@contextmanager
def _replaced(target: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `target` if the block succeeds."""
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            yield file
            file.close()
            os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _parse_hyperparameters(values: Sequence[str]) -> Mapping[str, Any]:
    pairs = _parse_pairs(values, "NAME=VALUE", "--hyperparameter")
    return {name: _parse_value(value) for name, value in pairs.items()}


def _parse_value(text: str) -> Any:
    """Parse a number, true, false or a list as JSON writes it; anything else is text.

    So are NaN and numbers beyond a float, which JSON cannot write: the service refuses them.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _parse_renames(renames: Sequence[str]) -> Mapping[str, str]:
    return _parse_pairs(renames, "OLD=NEW", "--rename")


def _parse_pairs(texts: Sequence[str], form: str, option: str) -> Mapping[str, str]:
    """Split each text at its first "=". Raises typer.BadParameter if a side is missing."""
    pairs = [text.partition("=") for text in texts]
    for name, _, value in pairs:
        if not name or not value:
            raise typer.BadParameter(f"{name!r}: write {form}.", param_hint=option)
    return {name: value for name, _, value in pairs}


def _summarize(conversion: Conversion, target: Path) -> Iterator[str]:
    layout = f" from {conversion.layout}" if conversion.layout is not None else ""
    yield f"{target}: {conversion.row_count:,} {conversion.format_name} examples{layout}."
    if conversion.error_count:
        yield f"{conversion.error_count:,} rows were left out."
    if conversion.omitted_columns:
        yield f"Columns left out: {', '.join(sorted(conversion.omitted_columns))}."
