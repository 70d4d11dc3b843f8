"""Assertions of promptfoo as testing criteria: those of which one means the same.

The kinds and their defaults are those of https://promptfoo.dev/docs/configuration/expected-outputs.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.eval_imports.nunjucks import Untranslatable, render

OUTPUT = "{{ sample.output_text }}"
MAX_PARTS = 20
READ_KEYS = {"type", "value", "metric", "weight", "description"}
# Kinds that run code, or call a server, that a config names.
PROGRAMS = {"javascript", "python", "ruby", "webhook"}
UNMEASURED = {"latency", "cost", "perplexity", "perplexity-score"}
# Similarities with the threshold that they have by default.
METRICS = {
    "rouge-n": ("rouge_1", 0.75),
    "bleu": ("bleu", 0.5),
    "gleu": ("gleu", 0.5),
    "meteor": ("meteor", 0.5),
}
SIMILAR_THRESHOLD = 0.75
STRING_OPERATIONS = {"contains": "like", "icontains": "ilike"}
RUBRIC = (
    "You judge the answer of a model by a criterion.\n\nCriterion:\n{criterion}\n\n"
    "Answer:\n{answer}\n\n{question}"
)
LABEL_QUESTION = 'The label is "pass" if the answer meets the criterion, and otherwise "fail".'
SCORE_QUESTION = "How well does the answer meet the criterion, from 0 (not at all) to 1 (fully)?"
JUDGE_CHANGED = "The judge is asked with another prompt than promptfoo's."
METRIC_CHANGED = "The measure is the same, computed by another library."
SIMILAR_CHANGED = "Embeddings are those of this service's encoder."


class Unmappable(ValueError):
    """An assertion that no criterion means the same as; the message says why."""


@dataclass(slots=True)
class Mapped:
    """A criterion that refers to `values`, which each item has of its own."""

    criterion: dict[str, Any]
    values: list[str]
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AssertionContext:
    """The test that an assertion is of. `first` is the number of its next value in the item."""

    variables: Mapping[str, Any]
    options: Mapping[str, Any]
    first: int

    def refer(self, number: int) -> str:
        return f"{{{{ item.expected[{self.first + number}] }}}}"


@dataclass(frozen=True, slots=True)
class _Assertion:
    kind: str
    is_inverse: bool
    name: str
    fields: Mapping[str, Any]
    test: AssertionContext

    def render_one(self) -> str:
        return self._render(self.fields.get("value"))

    def render_many(self) -> list[str]:
        value = self.fields.get("value")
        if isinstance(value, str):
            texts = _split(self._render(value))
        else:
            texts = [self._render(each) for each in value] if isinstance(value, list) else []
        if not 1 <= len(texts) <= MAX_PARTS:
            raise Unmappable(f"Expected a list of 1 to {MAX_PARTS} texts.")
        return texts

    def _render(self, value: Any) -> str:
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, int | float):
            value = orjson.dumps(value).decode()
        if not isinstance(value, str):
            raise Unmappable("Its value is no text.")
        if value.startswith(("file://", "package:")):
            raise Unmappable("Its value is in another file. Write it into the config.")
        try:
            return render(value, self.test.variables)
        except Untranslatable as error:
            raise Unmappable(str(error)) from error

    def refuse(self, *keys: str) -> None:
        """Raises Unmappable for what the kind reads in promptfoo, and its criterion does not."""
        for key in self.fields:
            if key not in READ_KEYS and key not in keys and self.fields[key] is not None:
                raise Unmappable(f"Its '{key[:40]}' has no counterpart.")

    def refuse_inverse(self) -> None:
        if self.is_inverse:
            raise Unmappable("No criterion means its negation.")

    def read_threshold(self, default: float | None) -> float | None:
        threshold = self.fields.get("threshold", default)
        if threshold is None:
            return default
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise Unmappable("Its threshold is no number.")
        return float(threshold)


def _split(text: str) -> list[str]:
    """Split values at commas, but for those in quotes."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise Unmappable("Its values cannot be read. Write them as a list.") from error
    return [part.strip() for part in (rows[0] if rows else [])]


def map_assertion(fields: Mapping[str, Any], test: AssertionContext) -> Mapped:
    """Map an assertion to a criterion. Raises Unmappable."""
    kind = str(fields.get("type"))
    base = kind.removeprefix("not-")
    metric = fields.get("metric")
    name = metric if isinstance(metric, str) and metric and "{" not in metric else kind
    assertion = _Assertion(base, kind != base, name[:256], fields, test)
    mapper = MAPPERS.get(base)
    if mapper is None:
        raise Unmappable(_explain(base))
    if fields.get("weight") == 0:
        raise Unmappable("Its weight is 0: it does not decide whether a test passes.")
    mapped = mapper(assertion)
    if fields.get("weight") not in (None, 1):
        mapped.changes.append("Weights have no effect: an item passes if it passes all criteria.")
    return mapped


def _explain(kind: str) -> str:
    if kind in PROGRAMS:
        return "This service runs no programs of clients, and calls no servers for them."
    if kind in UNMEASURED or kind.startswith(("trace-", "trajectory:")):
        return "Evals do not measure this."
    return "No criterion means the same."


def _map_equals(assertion: _Assertion) -> Mapped:
    assertion.refuse()
    if isinstance(assertion.fields.get("value"), dict | list):
        raise Unmappable("It compares JSON values; criteria compare texts.")
    operation = "ne" if assertion.is_inverse else "eq"
    return _check_strings(assertion, operation, [assertion.render_one()])


def _map_contains(assertion: _Assertion) -> Mapped:
    assertion.refuse()
    text = assertion.render_one()
    if not text:
        raise Unmappable("Its value is empty.")
    return _check_strings(assertion, STRING_OPERATIONS[assertion.kind], [text])


def _map_contains_several(assertion: _Assertion) -> Mapped:
    assertion.refuse()
    base, _, quantifier = assertion.kind.partition("-")
    function = "min" if quantifier == "all" else "max"
    texts = assertion.render_many()
    return _check_strings(assertion, STRING_OPERATIONS[base], texts, function)


def _check_strings(
    assertion: _Assertion, operation: str, values: list[str], function: str = "min"
) -> Mapped:
    parts = [
        {
            "type": "string_check",
            "name": assertion.name,
            "input": OUTPUT,
            "reference": assertion.test.refer(number),
            "operation": operation,
        }
        for number in range(len(values))
    ]
    is_negated = assertion.is_inverse and operation != "ne"
    return Mapped(_combine(assertion.name, parts, function, 1.0, is_negated=is_negated), values)


def _combine(
    name: str,
    parts: Sequence[dict[str, Any]],
    function: str,
    threshold: float,
    *,
    is_negated: bool = False,
) -> dict[str, Any]:
    """One criterion of several graders: their smallest or greatest score, or its negation."""
    if len(parts) == 1 and not is_negated:
        return parts[0]
    graders = {f"part{number}": part for number, part in enumerate(parts)}
    names = ", ".join(graders)
    formula = f"{function}({names})" if len(parts) > 1 else names
    return {
        "type": "multi",
        "name": name,
        "graders": graders,
        "calculate_output": f"1 - {formula}" if is_negated else formula,
        "pass_threshold": threshold,
    }


def _map_similar(assertion: _Assertion) -> Mapped:
    assertion.refuse("threshold", "provider")
    assertion.refuse_inverse()
    value = assertion.fields.get("value")
    texts = assertion.render_many() if isinstance(value, list) else [assertion.render_one()]
    threshold = assertion.read_threshold(SIMILAR_THRESHOLD)
    assert threshold is not None
    parts = [_compare(assertion, "cosine", number) for number in range(len(texts))]
    criterion = _combine(assertion.name, parts, "max", threshold) | {"pass_threshold": threshold}
    return Mapped(criterion, texts, [SIMILAR_CHANGED])


def _map_metric(assertion: _Assertion) -> Mapped:
    assertion.refuse("threshold")
    assertion.refuse_inverse()
    metric, default = METRICS[assertion.kind]
    criterion = _compare(assertion, metric, 0)
    criterion["pass_threshold"] = assertion.read_threshold(default)
    return Mapped(criterion, [assertion.render_one()], [METRIC_CHANGED])


def _compare(assertion: _Assertion, metric: str, number: int) -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": assertion.name,
        "input": OUTPUT,
        "reference": assertion.test.refer(number),
        "evaluation_metric": metric,
    }


def _map_rubric(assertion: _Assertion) -> Mapped:
    assertion.refuse("threshold", "provider")
    if assertion.test.options.get("rubricPrompt") is not None:
        raise Unmappable("Its judge has a prompt of its own.")
    threshold = assertion.read_threshold(None)
    question = LABEL_QUESTION if threshold is None else SCORE_QUESTION
    text = RUBRIC.format(criterion=assertion.test.refer(0), answer=OUTPUT, question=question)
    judge = {
        "name": assertion.name,
        "model": _find_judge(assertion),
        "input": [{"role": "user", "content": text}],
    }
    values = [assertion.render_one()]
    if threshold is None:
        passing = "fail" if assertion.is_inverse else "pass"
        labels = {"labels": ["pass", "fail"], "passing_labels": [passing]}
        return Mapped({"type": "label_model", **judge, **labels}, values, [JUDGE_CHANGED])
    assertion.refuse_inverse()
    scores = {"range": [0.0, 1.0], "pass_threshold": threshold}
    return Mapped({"type": "score_model", **judge, **scores}, values, [JUDGE_CHANGED])


def _find_judge(assertion: _Assertion) -> str:
    """Find the name of the judge; an empty one if the config names none."""
    provider = assertion.fields.get("provider") or assertion.test.options.get("provider")
    if isinstance(provider, dict):
        provider = provider.get("id") or provider.get("text")
    return read_model_name(provider) if isinstance(provider, str) else ""


def read_model_name(provider: str) -> str:
    """Read the name of a model from the id of a provider: `openai:chat:gpt-4o` is `gpt-4o`."""
    vendor, _, rest = provider.partition(":")
    if vendor != "openai" or not rest:
        return provider
    api, _, name = rest.partition(":")
    return name if api in ("chat", "completion", "responses") and name else rest


MAPPERS: Mapping[str, Callable[[_Assertion], Mapped]] = {
    "equals": _map_equals,
    "contains": _map_contains,
    "icontains": _map_contains,
    "contains-all": _map_contains_several,
    "contains-any": _map_contains_several,
    "icontains-all": _map_contains_several,
    "icontains-any": _map_contains_several,
    "similar": _map_similar,
    "similar:cosine": _map_similar,
    **dict.fromkeys(METRICS, _map_metric),
    "llm-rubric": _map_rubric,
    "model-graded-closedqa": _map_rubric,
}
