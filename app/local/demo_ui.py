"""What `luthier demo` shows: a live bar on a terminal, plain lines elsewhere."""

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

# Steps between two lines where there is no terminal.
LINES_APART = 5


class Screen:
    """One demonstration on one console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """A line as it is: not wrapped, so that what is copied from it is whole."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    @contextmanager
    def progress(self, job_id: str) -> Iterator["JobProgress"]:
        """Show a job's events while the block runs."""
        self.say(f"  {job_id}")
        if not self.console.is_terminal:
            yield JobProgress(self, None)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, refresh_per_second=5) as bar:
            yield JobProgress(self, bar)

    def answers(self, question: str, answers: Mapping[str, str]) -> None:
        """One question, and what each model answers to it.

        The names stand in lines of their own: in a table they would be broken on a narrow terminal,
        and could not be copied whole.
        """
        self.say("")
        if not self.console.is_terminal:
            self.say(f"Question: {question}")
            for name, answer in answers.items():
                self.say(f"{name}: {json.dumps(answer)}")
            return
        self.console.print(Text(f"“{question}”", style="bold"))
        for name, answer in answers.items():
            self.say(f"\n{name}")
            self.console.print(Padding(Text(answer), (0, 0, 0, 2)))

    def next_steps(self, *, url: str, key: Path, model: str, question: str) -> None:
        """The URL, the key, and lines that can be pasted into a shell as they are."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]})
        quoted = shlex.quote(str(key))
        self.say(f"\nURL  {url}/v1\nkey  {key.read_text().strip()}   (in {key})")
        self.say("\nAsk it yourself, with curl:\n")
        self.say(
            f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' "
            f'-H "Authorization: Bearer $(cat {quoted})" -d {shlex.quote(body)}'
        )
        self.say("\nor with the openai package (pip install openai), in Python:\n")
        self.say("from openai import OpenAI")
        self.say(
            f"client = OpenAI(base_url={f'{url}/v1'!r}, api_key=open({str(key)!r}).read().strip())"
        )
        self.say(f"messages = [{{'role': 'user', 'content': {question!r}}}]")
        self.say(f"answer = client.chat.completions.create(model={model!r}, messages=messages)")
        self.say("print(answer.choices[0].message.content)\n")


class JobProgress:
    """A job's events as one line that moves, or, without a bar, as lines."""

    def __init__(self, screen: Screen, bar: Progress | None) -> None:
        self._screen = screen
        self._bar = bar
        if bar is not None:
            bar.add_task("waiting", total=None, numbers="")

    def note(self, event: Mapping[str, Any]) -> None:
        """Take in one event as the API gives it."""
        data = event["data"] or {}
        if event["type"] == "metrics":
            self._step(event["message"], data)
        elif self._bar is None:
            self._screen.say(f"  {event['message']}")
        elif self._bar.tasks[0].total is None:
            # Without the ids, for which a line has no room.
            said = event["message"].partition(": ")[0]
            self._bar.update(self._bar.tasks[0].id, description=said)

    def _step(self, message: str, data: Mapping[str, Any]) -> None:
        step, total = data["step"], data["total_steps"]
        if self._bar is None:
            if step % LINES_APART == 0 or step in (1, total):
                self._screen.say(f"  {message}")
            return
        numbers = [f"loss {data['train_loss']:.3f}"] if "train_loss" in data else []
        if "tokens_per_second" in data:
            numbers.append(f"{data['tokens_per_second']:.0f} tokens/s")
        if (left := self._bar.tasks[0].time_remaining) is not None:
            numbers.append(f"{left:.0f} s left")
        self._bar.update(
            self._bar.tasks[0].id,
            description=f"step {step}/{total}",
            completed=step,
            total=total,
            numbers=", ".join(numbers),
        )
