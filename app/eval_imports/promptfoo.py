"""Configs of promptfoo: tests that have the same list of assertions become an eval and its items.

The format is that of https://promptfoo.dev/docs/configuration/reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from app.eval_imports.promptfoo_prompts import Prompt, Provider, read_prompts, read_providers
from app.eval_imports.promptfoo_tests import ItemReader, PlannedItem

NAME = "promptfoo"
READ_KEYS = {
    "description",
    "prompts",
    "providers",
    "targets",
    "tests",
    "defaultTest",
    "assertionTemplates",
    "$schema",
}


@dataclass(slots=True)
class _Group:
    """Tests with the same criteria."""

    criteria: list[tuple[str, dict[str, Any]]]
    num_expected: int
    lines: list[str] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)


def plan_promptfoo(config: Mapping[str, Any]) -> ImportPlan:
    """Plan the import of a config. Raises ImportFault."""
    differences = DifferenceList()
    for key in config:
        if key not in READ_KEYS:
            differences.leave_out(f"'{key}'", "It has no counterpart.", key)
    reader = ItemReader(config, differences)
    prompts = read_prompts(config, reader.options, differences)
    providers = read_providers(config, differences)
    names = {name for prompt in prompts for name in prompt.names}
    groups = _group_tests(config, reader, names, differences)
    if len(groups) * max(len(prompts), 1) * max(len(providers), 1) > MAX_RUNS:
        raise ImportFault(
            f"The config has more than {MAX_RUNS:,} combinations of prompts, providers and lists "
            "of assertions. Split it into several."
        )
    name = config.get("description")
    name = name if isinstance(name, str) and name else NAME
    evals = []
    for number, group in enumerate(groups):
        suffix = f" ({number + 1} of {len(groups)})" if len(groups) > 1 else ""
        runs = [run for prompt in prompts for run in _plan_runs(prompt, providers, number)]
        evals.append(_plan_eval(f"{name}{suffix}", group, runs, number))
    files = ["".join(group.lines) for group in groups]
    return ImportPlan(
        format=ImportFormat.PROMPTFOO,
        evals=evals,
        files=files,
        differences=differences.list_all(),
    )


def _group_tests(
    config: Mapping[str, Any], reader: ItemReader, names: set[str], differences: DifferenceList
) -> list[_Group]:
    given = config.get("tests")
    if not isinstance(given, list):
        reason = "They are in another file. Write them into the config."
        differences.leave_out("tests", reason, "tests")
        return []
    groups: dict[bytes, _Group] = {}
    size = 0
    for number, test in enumerate(given):
        for each in reader.read(test, f"tests[{number}]"):
            for name in names:
                # As Nunjucks does.
                each.item["vars"].setdefault(name, "")
            line = orjson.dumps({"item": each.item}) + b"\n"
            size += len(line)
            if size > MAX_ITEM_BYTES:
                raise ImportFault(
                    f"The tests become items of more than {MAX_ITEM_BYTES // 2**20} MiB. Split "
                    "the config into several."
                )
            _find_group(groups, each).lines.append(line.decode())
    return list(groups.values())


def _find_group(groups: dict[bytes, _Group], test: PlannedItem) -> _Group:
    criteria = [criterion for _, criterion in test.criteria]
    group = groups.setdefault(
        orjson.dumps(criteria), _Group(test.criteria, len(test.item["expected"]))
    )
    if len(groups) > MAX_EVALS:
        raise ImportFault(
            f"The tests have more than {MAX_EVALS} different lists of assertions, each of which "
            "becomes an eval. Split the config into several."
        )
    group.names |= dict.fromkeys(test.item["vars"])
    return group


def _plan_eval(name: str, group: _Group, runs: list[PlannedRun], number: int) -> PlannedEval:
    text = {"type": "string"}
    count = group.num_expected
    schema = {
        "type": "object",
        "properties": {
            "description": text,
            "metadata": {"type": "object"},
            "vars": {"type": "object", "properties": {key: {} for key in group.names}},
            "expected": {"type": "array", "items": text, "minItems": count, "maxItems": count},
        },
        "required": ["vars", "expected"],
    }
    return PlannedEval(
        name=name,
        data_source_config={
            "type": "custom",
            "item_schema": schema,
            "include_sample_schema": True,
        },
        criteria=group.criteria,
        runs=runs,
        file=number,
        place="tests",
    )


def _plan_runs(prompt: Prompt, providers: list[Provider], file: int) -> list[PlannedRun]:
    """Plan a run of a prompt for each model; one without a model if there is none."""
    messages = {"type": "template", "template": prompt.messages}
    source: dict[str, Any] = {"type": "completions", "input_messages": messages}
    if not providers:
        return [PlannedRun(name=prompt.label, data_source=source, file=file, place=prompt.place)]
    return [
        PlannedRun(
            name=f"{prompt.label}, {provider.model}",
            data_source={
                **source,
                "model": provider.model,
                "sampling_params": provider.sampling_params,
            },
            file=file,
            place=prompt.place,
        )
        for provider in providers
    ]
