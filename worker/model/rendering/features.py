"""Features of a chat template, found by rendering small probes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Renders messages and tools; None if the template rejects them.
Probe = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], str | None]

USER = {"role": "user", "content": "x"}
NAMES = ("probe_first", "probe_second")
ARGUMENTS = {"key": "probe_value"}
RESULT = "probe_result"
REASONING = "probe_reasoning"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "probe",
            "parameters": {"type": "object", "properties": {"key": {"type": "string"}}},
        },
    }
    for name in NAMES
]


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form in which a template expects the arguments of calls: objects, or JSON in a string."""

    arguments_as_objects: bool


@dataclass(frozen=True, slots=True)
class TemplateFeatures:
    """Kinds of messages that a template renders itself; others are rewritten for it.

    call_form  None if the template does not render calls and their results
    """

    system: bool
    tools: bool
    call_form: CallForm | None
    parallel_calls: bool
    reasoning: bool


def probe_features(probe: Probe, source: str) -> TemplateFeatures:
    """Find out what a template renders."""
    form = _find_call_form(probe, source)
    return TemplateFeatures(
        system=_contains(probe([{"role": "system", "content": RESULT}, USER], []), RESULT),
        # A cheap test first: templates with tools are the largest.
        tools="tools" in source and _contains(probe([USER], TOOLS), *NAMES),
        call_form=form,
        parallel_calls=form is not None
        and _contains(probe([USER, make_call(form, NAMES), *_results(NAMES)], []), *NAMES),
        reasoning=_contains(
            probe([USER, {"role": "assistant", "content": "y", **reasoning_fields(REASONING)}], []),
            REASONING,
        ),
    )


def reasoning_fields(reasoning: str) -> dict[str, str]:
    """Both names by which templates read a message's reasoning."""
    return {"reasoning_content": reasoning, "thinking": reasoning}


def make_call(form: CallForm, names: Sequence[str]) -> dict[str, Any]:
    """Make a message that calls the probe's functions."""
    arguments = ARGUMENTS if form.arguments_as_objects else json.dumps(ARGUMENTS)
    calls = [
        {
            "id": _call_id(name),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for name in names
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _find_call_form(probe: Probe, source: str) -> CallForm | None:
    if "tool_calls" not in source:
        return None
    forms = [CallForm(is_object) for is_object in (True, False)]
    name = NAMES[0]
    for form in forms:
        text = probe([USER, make_call(form, [name]), *_results([name])], [])
        # Arguments that were JSON already are quoted twice by some templates.
        if _contains(text, name, *ARGUMENTS.values(), RESULT) and '\\"' not in (text or ""):
            return form
    return None


def _results(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"role": "tool", "content": RESULT, "tool_call_id": _call_id(name)} for name in names]


def _call_id(name: str) -> str:
    # Some templates insist on nine letters and digits.
    return f"call{NAMES.index(name):05}"


def _contains(text: str | None, *parts: str) -> bool:
    return text is not None and all(part in text for part in parts)
