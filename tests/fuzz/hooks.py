"""What schemathesis is told to do beside making requests up: it loads this module by name.

Made-up ids are never of anything, and made-up models never answer, so that most answers would be
404. In most requests what is named is therefore put in place; what came of each is written down.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

# Of the requests; in the others the ids stay made up.
SHARE = 0.7
# Its files are written by `tests.fuzz.test_openapi`, and read by it.
FOLDER = Path(os.environ["FUZZ_FOLDER"])
SEEDS: dict[str, dict[str, Any]] = json.loads((FOLDER / "seeds.json").read_text())

draw = random.Random(1)


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Have the request name what there is; what ends something gets what nothing else needs."""
    if draw.random() > SHARE:
        return
    seeds = SEEDS["doomed" if case.method == "DELETE" else "named"]
    seeds = seeds | SEEDS["own"].get(f"{case.method} {case.path}", {})
    case.path_parameters = _named(case.path_parameters, seeds)
    case.body = _named(case.body, seeds)
    if case.query and "after" in case.query and case.path in SEEDS["cursors"]:
        case.query = {**case.query, "after": draw.choice(SEEDS["cursors"][case.path])}


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    with (FOLDER / "answers.txt").open("a") as answers:
        answers.write(f"{case.method} {case.path} {response.status_code}\n")


def _named(value: Any, seeds: dict[str, list[str]]) -> Any:
    if isinstance(value, list):
        return [_named(each, seeds) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _seed(inner, seeds[name]) if name in seeds else _named(inner, seeds)
        for name, inner in value.items()
    }


def _seed(made_up: Any, seeds: list[str]) -> Any:
    if isinstance(made_up, list):
        return [draw.choice(seeds)]
    # What is left out, or of another type on purpose, stays so.
    return draw.choice(seeds) if isinstance(made_up, str) else made_up
