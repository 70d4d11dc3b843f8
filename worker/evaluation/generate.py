"""Greedy answers of the engine that serves: its decoder, scheduler, stop tokens and detokenizer."""

from collections import deque
from collections.abc import Iterator, Sequence

from app.errors import ApiError
from worker.evaluation.test_rows import TestRow
from worker.inference.adapter_memory import AdapterFiles
from worker.inference.choice_text import ChoiceText
from worker.inference.loaded_model import LoadedModel
from worker.inference.messages import Event, Failed, Finished, Request, SamplingParams, Token

GREEDY = SamplingParams(temperature=0.0)


class GenerationFailed(Exception):
    """The engine could not answer a row."""


class _Answer:
    """The text of one answer, as its tokens arrive."""

    def __init__(self, row: TestRow, model: LoadedModel, adapter: AdapterFiles | None) -> None:
        self.row = row
        self.text = ""
        self.is_finished = False
        self.error: ApiError | None = None
        self._pieces = ChoiceText(model.vocabulary, ())
        self.request = Request(
            prompt=row.prompt,
            num_choices=1,
            max_new_tokens=row.max_new_tokens,
            stop_ids=model.renderer.stop_ids,
            sampling=GREEDY,
            adapter=adapter,
            emit=self._receive,
        )

    def _receive(self, event: Event) -> None:
        if isinstance(event, Token):
            self.text += self._pieces.push(event).text
        elif isinstance(event, Failed):
            self.error, self.is_finished = event.error, True
        elif isinstance(event, Finished):
            self.text += self._pieces.finish().text
            self.is_finished = True


def generate(
    model: LoadedModel, rows: Sequence[TestRow], adapter: AdapterFiles | None
) -> Iterator[tuple[TestRow, str] | None]:
    """Yield each row with the model's answer, in the order in which they are done.

    Yields None after each step of the engine, so that the caller may stop between two steps.
    Raises GenerationFailed.
    """
    waiting = deque(rows)
    running: list[_Answer] = []
    while waiting or running:
        while waiting and len(running) < model.engine.decoder.num_slots:
            answer = _Answer(waiting.popleft(), model, adapter)
            model.engine.submit(answer.request)
            running.append(answer)
        model.engine.step()
        yield None
        for answer in running:
            if answer.error is not None:
                raise GenerationFailed(f"Row {answer.row.number}: {answer.error.message}")
            if answer.is_finished:
                yield answer.row, answer.text
        running = [answer for answer in running if not answer.is_finished]
