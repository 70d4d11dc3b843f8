"""Exports of OpenAI's evals: eval objects, pages of them, and runs, as its SDKs dump them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from app.eval_imports.plan import (
    MAX_EVALS,
    MAX_ITEM_BYTES,
    MAX_RUNS,
    DifferenceList,
    ImportFault,
    ImportFormat,
    ImportPlan,
    PlannedEval,
    PlannedRun,
)

READ_KEYS = {
    "id",
    "object",
    "created_at",
    "name",
    "metadata",
    "data_source_config",
    "testing_criteria",
    "runs",
}
# Those of results too: a run that is created has its own.
READ_RUN_KEYS = {
    "id",
    "object",
    "created_at",
    "name",
    "metadata",
    "data_source",
    "eval_id",
    "status",
    "model",
    "error",
    "report_url",
    "result_counts",
    "per_model_usage",
    "per_testing_criteria_results",
}
STORED_KINDS = ("logs", "stored_completions")


def plan_openai(document: Any) -> ImportPlan:
    """Plan the import of an export. Raises ImportFault."""
    differences = DifferenceList()
    objects = list(_list_objects(document, differences, ""))
    rows = [(place, each) for place, each in objects if "testing_criteria" in each]
    runs = [(place, each) for place, each in objects if "data_source" in each]
    for place, each in objects:
        if "testing_criteria" not in each and "data_source" not in each:
            differences.leave_out("object", "It is neither an eval nor a run.", place)
    if len(rows) > MAX_EVALS or len(runs) > MAX_RUNS:
        raise ImportFault(
            f"The export has more than {MAX_EVALS} evals or {MAX_RUNS:,} runs. Import it in parts."
        )
    files = _Files()
    evals = []
    for place, row in rows:
        given = row.get("runs") or []
        own = list(_list_objects(given, differences, f"{place}.runs"))
        id_ = _read_text(row, "id")
        of_eval = [run for run in runs if id_ and _read_text(run[1], "eval_id") == id_]
        planned = _plan_eval(row, [*own, *of_eval], files, differences, place)
        if planned is not None:
            evals.append(planned)
    known = {_read_text(row, "id") for _, row in rows} - {None}
    for place, run in runs:
        if _read_text(run, "eval_id") not in known:
            differences.leave_out("run", "Its eval is not in the export.", place)
    return ImportPlan(
        format=ImportFormat.OPENAI,
        evals=evals,
        files=files.texts,
        differences=differences.list_all(),
    )


class _Files:
    """Files of items; the same items are one file."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._size = 0

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add a file; returns its number. Raises ImportFault."""
        lines = "".join(orjson.dumps(_drop_nulls(row)).decode() + "\n" for row in rows)
        if lines not in self._numbers:
            self._size += len(lines.encode())
            if self._size > MAX_ITEM_BYTES:
                raise ImportFault("The items of the runs are too many. Import them in parts.")
        return self._numbers.setdefault(lines, len(self._numbers))


def _list_objects(
    document: Any, differences: DifferenceList, place: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects of a page or a list, or a single one, each with its place."""
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        document, place = document["data"], f"{place}.data".lstrip(".")
    if isinstance(document, dict):
        yield place or "eval", document
    elif isinstance(document, list):
        for number, each in enumerate(document):
            if isinstance(each, dict):
                yield f"{place}[{number}]", each
            else:
                differences.leave_out("object", "It is no object.", f"{place}[{number}]")
    else:
        differences.leave_out("object", "It is no object.", place)


def _plan_eval(
    row: Mapping[str, Any],
    runs: Iterable[tuple[str, dict[str, Any]]],
    files: _Files,
    differences: DifferenceList,
    place: str,
) -> PlannedEval | None:
    config = _convert_config(row.get("data_source_config"))
    given = row["testing_criteria"]
    if config is None or not isinstance(given, list):
        reason = "It has no data_source_config and list of testing_criteria that can be read."
        differences.leave_out("eval", reason, place)
        return None
    for key in row:
        if key not in READ_KEYS:
            differences.leave_out(f"'{key}' of evals", "It has no counterpart.", place)
    criteria = []
    for number, each in enumerate(given):
        where = f"{place}.testing_criteria[{number}]"
        if isinstance(each, dict):
            criteria.append((where, _convert_criterion(each)))
        else:
            differences.leave_out("criterion", "It is no object.", where)
    name, metadata = _read_labels(row, differences, place)
    planned = [_plan_run(run, files, differences, where) for where, run in runs]
    return PlannedEval(
        name=name,
        metadata=metadata,
        data_source_config=config,
        criteria=criteria,
        runs=[run for run in planned if run is not None],
        place=place,
    )


def _convert_config(config: Any) -> dict[str, Any] | None:
    """Convert a configuration to that of a request, which has the items' schema alone."""
    if not isinstance(config, dict):
        return None
    if config.get("type") in STORED_KINDS:
        return {"type": config["type"], "metadata": config.get("metadata")}
    # The Python SDK's own name of it has an underscore.
    schema = config.get("schema", config.get("schema_"))
    variables = schema.get("properties") if isinstance(schema, dict) else None
    if config.get("type") != "custom" or not isinstance(variables, dict):
        return None
    return {
        "type": "custom",
        "item_schema": variables.get("item") or {},
        "include_sample_schema": "sample" in variables,
    }


def _convert_criterion(given: Mapping[str, Any]) -> dict[str, Any]:
    criterion = _drop_nulls(given)
    criterion.pop("id", None)
    if isinstance(criterion.get("sampling_params"), dict):
        criterion["sampling_params"] = _drop_nulls(criterion["sampling_params"])
    return criterion


def _plan_run(
    run: Mapping[str, Any], files: _Files, differences: DifferenceList, place: str
) -> PlannedRun | None:
    data_source, file = run.get("data_source"), None
    source = data_source.get("source") if isinstance(data_source, dict) else None
    if not isinstance(data_source, dict) or not isinstance(source, dict):
        differences.leave_out("run", "It has no data source.", place)
        return None
    for key in _drop_nulls(run):
        if key not in READ_RUN_KEYS:
            differences.leave_out(f"'{key}' of runs", "It has no counterpart.", place)
    body = _drop_nulls(data_source)
    body["source"] = _drop_nulls(source)
    if isinstance(body.get("sampling_params"), dict):
        body["sampling_params"] = _drop_nulls(body["sampling_params"])
    if source.get("type") == "file_id":
        reason = "Its items are in a file that the export does not have. Upload it and create one."
        differences.leave_out("run", reason, place)
        return None
    if source.get("type") == "file_content":
        rows = source.get("content")
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            differences.leave_out("run", "The export does not have its items.", place)
            return None
        if not rows:
            differences.leave_out("run", "It has no items.", place)
            return None
        file = files.add(rows)
    name, metadata = _read_labels(run, differences, place)
    return PlannedRun(
        name=name,
        metadata=metadata,
        data_source=body,
        file=file,
        place=place,
    )


def _read_labels(
    row: Mapping[str, Any], differences: DifferenceList, place: str
) -> tuple[str | None, dict[str, Any] | None]:
    """Read the name and the metadata."""
    name, metadata = row.get("name"), row.get("metadata")
    if name is not None and not isinstance(name, str):
        differences.leave_out("name", "It is no text.", place)
    if metadata is not None and not isinstance(metadata, dict):
        differences.leave_out("metadata", "It is no object.", place)
    return _read_text(row, "name"), metadata if isinstance(metadata, dict) else None


def _read_text(row: Mapping[str, Any], name: str) -> str | None:
    """Read a text; None for any other value, and for one without characters."""
    text = row.get(name)
    return text if isinstance(text, str) and text else None


def _drop_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    """Dumps have null for what was left out."""
    return {name: each for name, each in value.items() if each is not None}
