"""The grammar of a whole answer: reasoning, and then calls or JSON, in the form of its model."""

from collections.abc import Mapping
from typing import Any

from worker.inference.grammar.call_rules import CallRules
from worker.inference.grammar.lark import Literals, write_json
from worker.model.rendering.answer_format import AnswerFormat

# What models write between reasoning and what follows it.
GAP = r"/[ \n]{1,4}/"


class AnswerRules:
    """Writes the grammar in Lark's notation.

    Reasoning is free: what the prompt has begun must end, and what the model may begin may precede
    the constrained part.
    """

    def __init__(self, format: AnswerFormat, literals: Literals, *, begins_reasoning: bool) -> None:
        self._format = format
        self._literals = literals
        self._begins_reasoning = begins_reasoning

    def write(self, calls: CallRules | None, schema: Mapping[str, Any] | None) -> str:
        """Write an answer that is calls, or JSON of a schema; either if both are given."""
        strip = self._has_reasoning
        options: list[str] = []
        rules: list[str] = []
        if calls is not None:
            options.append(calls.write_sequence(strip=strip))
            rules += calls.rules
        if schema is not None:
            begin = self._format.content_begin
            options.append(f"{self._literals.write(begin.lstrip() if strip else begin)} json")
            rules.append(f"json: {write_json(schema)}")
        lead, lead_rules = self._write_lead()
        answer = f"answer: {' | '.join(options)}"
        return "\n".join([f"start: {lead} answer", answer, *lead_rules, *rules])

    @property
    def _has_reasoning(self) -> bool:
        """True if reasoning may precede the constrained part."""
        begins = self._begins_reasoning or bool(self._format.reasoning_begin)
        return begins and bool(self._format.reasoning_end)

    def _write_lead(self) -> tuple[str, list[str]]:
        """Write what precedes the constrained part: a sequence, and the rules that it uses."""
        if not self._has_reasoning:
            lead = self._format.no_reasoning if self._begins_reasoning else ""
            return self._literals.write(lead), []
        thought, rule = self._literals.text_up_to(self._format.reasoning_end, "thought")
        rules = [rule, f"reasoning: {thought} GAP?", f"GAP: {GAP}"]
        if self._begins_reasoning:
            return "reasoning", rules
        begin = self._literals.write(self._format.reasoning_begin)
        return f"GAP? ({begin} reasoning)?", rules
