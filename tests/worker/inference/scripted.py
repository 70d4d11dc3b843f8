"""Answers that a test writes: the engine runs as always, but samples the tokens of a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from worker.inference import engine

# Above the logits of any model.
CERTAIN = 1e4


@dataclass
class Script:
    """The texts of choices, in the order in which they start; the last one is repeated."""

    tokenizer: PreTrainedTokenizerBase
    texts: Sequence[str] = ()
    _choices: dict[int, list[int]] = field(default_factory=dict)
    # Keeps their ids from being used again.
    _samplers: list[Any] = field(default_factory=list)

    def write(self, *texts: str) -> None:
        self.texts = texts
        self._choices.clear()

    def next_token(self, sampler: Any) -> int:
        key = id(sampler)
        if key not in self._choices:
            text = self.texts[min(len(self._choices), len(self.texts) - 1)]
            ids = self.tokenizer(text, add_special_tokens=False).input_ids
            self._choices[key] = [self.tokenizer.eos_token_id, *reversed(ids)]
            self._samplers.append(sampler)
        ids = self._choices[key]
        return ids.pop() if len(ids) > 1 else ids[0]


def script_answers(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerBase) -> Script:
    script = Script(tokenizer)
    sample: Callable[..., Any] = engine.sample

    def sample_scripted(logits: Tensor, samplers: Sequence[Any]) -> Any:
        logits = logits.clone()
        for row, sampler in enumerate(samplers):
            logits[row, script.next_token(sampler)] += CERTAIN
        return sample(logits, samplers)

    monkeypatch.setattr(engine, "sample", sample_scripted)
    return script
