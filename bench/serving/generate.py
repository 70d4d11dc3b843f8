"""transformers' `generate` as a peer: static batches in a process of its own.

PEFT picks each row's adapter. A batch is as large as there are clients, and the next one begins
when the last row of this one has ended, which with rows of equal length is no loss.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

from bench.serving.peers import START_SECONDS, STOP_SECONDS, Processes
from bench.serving.traffic import REQUEST_SECONDS, Question, Timing
from bench.serving.weights import Weights

# PEFT's name for rows without an adapter.
NO_ADAPTER = "__base__"


class TokenTimes(StoppingCriteria):
    """The time of each step; never stops."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)


class GeneratePeer:
    """The other end of the process's pipe."""

    name = "transformers"

    def __init__(self, pipe: Connection, processes: Processes) -> None:
        self._pipe = pipe
        self.processes = processes

    def ask(self, questions: Sequence[Question], clients: int) -> list[Timing]:
        timings: list[Timing] = []
        for batch in _batches(questions, clients):
            sent_at = time.perf_counter()
            self._pipe.send(batch)
            if not self._pipe.poll(REQUEST_SECONDS):
                raise RuntimeError("transformers did not answer in time")
            times = self._pipe.recv()
            timings += [Timing(sent_at, times, len(times)) for _ in batch]
        return timings


def _batches(questions: Sequence[Question], size: int) -> Iterator[list[Question]]:
    for start in range(0, len(questions), size):
        yield list(questions[start : start + size])


@contextmanager
def run_generate(weights: Weights) -> Iterator[GeneratePeer]:
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    arguments = (other, weights.base, weights.adapters)
    process = context.Process(target=serve, args=arguments, daemon=True)
    process.start()
    try:
        if not pipe.poll(START_SECONDS):
            raise SystemExit("transformers did not start")
        pipe.recv()
        assert process.pid is not None
        yield GeneratePeer(pipe, Processes(process.pid))
    finally:
        process.terminate()
        process.join(STOP_SECONDS)


def serve(pipe: Connection, base: Path, adapters: Sequence[Path]) -> None:
    """Answer batches until the pipe is closed."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    for adapter in adapters:
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=adapter.name)
        else:
            model = PeftModel.from_pretrained(model, str(adapter), adapter_name=adapter.name)
    model.eval()
    pipe.send("ready")
    while True:
        try:
            batch: list[Question] = pipe.recv()
        except EOFError:
            return
        pipe.send(_generate(model, batch, [adapter.name for adapter in adapters]))


@torch.inference_mode()
def _generate(model: Any, batch: Sequence[Question], adapters: Sequence[str]) -> list[float]:
    clock = TokenTimes()
    ids = torch.tensor([question.prompt for question in batch])
    names = [NO_ADAPTER if q.adapter is None else adapters[q.adapter] for q in batch]
    more = {"adapter_names": names} if isinstance(model, PeftModel) else {}
    tokens = batch[0].tokens
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
        stopping_criteria=StoppingCriteriaList([clock]),
        **more,
    )
    return clock.times
