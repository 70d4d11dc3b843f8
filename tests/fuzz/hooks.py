"""Schemathesis hooks, loaded by module name: put existing ids into requests, log the responses.

Generated ids and model names never exist, so that most responses would be 404.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

# Share of requests that get existing ids; the others keep generated ones.
EXISTING_ID_RATIO = 0.7
# Generated ids may be those of earlier responses. An export would wait for a trainer: none runs.
ONLY_EXISTING = "GET /v1/models/{model}/export"
# Shared with `tests.fuzz.test_openapi`, which writes seeds.json and reads responses.txt.
FOLDER = Path(os.environ["FUZZ_FOLDER"])
SEEDS: dict[str, dict[str, Any]] = json.loads((FOLDER / "seeds.json").read_text())

rng = random.Random(1)


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Put existing ids into a request; DELETE requests get ids that no other request needs."""
    operation = f"{case.method} {case.path}"
    if operation != ONLY_EXISTING and rng.random() > EXISTING_ID_RATIO:
        return
    seeds = SEEDS["deletable" if case.method == "DELETE" else "lasting"]
    seeds = seeds | SEEDS["by_operation"].get(operation, {})
    case.path_parameters = _replace_ids(case.path_parameters, seeds)
    case.body = _replace_ids(case.body, seeds)
    if case.query and "after" in case.query and case.path in SEEDS["cursors"]:
        case.query = {**case.query, "after": rng.choice(SEEDS["cursors"][case.path])}


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    with (FOLDER / "responses.txt").open("a") as responses:
        responses.write(f"{case.method} {case.path} {response.status_code}\n")


def _replace_ids(value: Any, seeds: dict[str, list[str]]) -> Any:
    if isinstance(value, list):
        return [_replace_ids(item, seeds) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _replace_id(inner, seeds[name]) if name in seeds else _replace_ids(inner, seeds)
        for name, inner in value.items()
    }


def _replace_id(generated: Any, seeds: list[str]) -> Any:
    if isinstance(generated, list):
        return [rng.choice(seeds)]
    # Values of another type are invalid on purpose and stay.
    return rng.choice(seeds) if isinstance(generated, str) else generated
