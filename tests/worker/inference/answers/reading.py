"""Reads an answer to its end."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from worker.inference.answers.answer_parser import AnswerParser
from worker.inference.answers.parts import ArgumentsPart, CallPart, Part, ReasoningPart, TextPart


@dataclass
class Answer:
    text: str = ""
    reasoning: str = ""
    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)

    def add(self, part: Part) -> None:
        match part:
            case TextPart(text):
                self.text += text
            case ReasoningPart(text):
                self.reasoning += text
            case CallPart(name):
                self.names.append(name)
                self.arguments.append("")
            case ArgumentsPart(text):
                self.arguments[-1] += text

    @property
    def calls(self) -> list[tuple[str, Any]]:
        return [
            (name, json.loads(arguments))
            for name, arguments in zip(self.names, self.arguments, strict=True)
        ]


def read(parser: AnswerParser, pieces: Iterable[str]) -> Answer:
    answer = Answer()
    for piece in pieces:
        for part in parser.push(piece):
            answer.add(part)
    for part in parser.finish():
        answer.add(part)
    return answer
