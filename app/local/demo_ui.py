"""Output of `luthier demo`: a live progress bar on a terminal, plain lines elsewhere."""

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

from app.local.job_estimate import format_rate

# Training steps per line of output, if that is not a terminal.
STEPS_BETWEEN_LINES = 5


class DemoUi:
    """Output of one demo run on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def print_line(self, text: str) -> None:
        """Print a line without wrapping, so that it can be copied whole."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    @contextmanager
    def show_progress(self, job_id: str) -> Iterator["JobProgress"]:
        """Show a job's events while the block runs."""
        self.print_line(f"  {job_id}")
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

    def show_answers(self, question: str, answers: Mapping[str, str]) -> None:
        """Print a question and each model's answer.

        Each name is on its own line: a table would wrap it on a narrow terminal, and it could not
        be copied whole.
        """
        self.print_line("")
        if not self.console.is_terminal:
            self.print_line(f"Question: {question}")
            for name, answer in answers.items():
                self.print_line(f"{name}: {json.dumps(answer)}")
            return
        self.console.print(Text(f"“{question}”", style="bold"))
        for name, answer in answers.items():
            self.print_line(f"\n{name}")
            self.console.print(Padding(Text(answer), (0, 0, 0, 2)))

    def show_next_steps(self, *, url: str, key: Path, model: str, question: str) -> None:
        """Print the URL, the API key, and commands that can be pasted into a shell."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]})
        quoted = shlex.quote(str(key))
        self.print_line(f"\nURL  {url}/v1\nkey  {key.read_text().strip()}   (in {key})")
        self.print_line("\nAsk it yourself with curl:\n")
        self.print_line(
            f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' "
            f'-H "Authorization: Bearer $(cat {quoted})" -d {shlex.quote(body)}'
        )
        self.print_line("\nor with the openai package (pip install openai), in Python:\n")
        self.print_line("from openai import OpenAI")
        self.print_line(
            f"client = OpenAI(base_url={f'{url}/v1'!r}, api_key=open({str(key)!r}).read().strip())"
        )
        self.print_line(f"messages = [{{'role': 'user', 'content': {question!r}}}]")
        self.print_line(
            f"answer = client.chat.completions.create(model={model!r}, messages=messages)"
        )
        self.print_line("print(answer.choices[0].message.content)\n")


class JobProgress:
    """Progress of a job: a progress bar, or one line per event without one."""

    def __init__(self, ui: DemoUi, bar: Progress | None) -> None:
        self._ui = ui
        self._bar = bar
        if bar is not None:
            bar.add_task("waiting", total=None, numbers="")

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Show one event of the API."""
        data = event["data"] or {}
        if event["type"] == "metrics":
            self._add_metrics(event["message"], data)
        elif self._bar is None:
            self._ui.print_line(f"  {event['message']}")
        elif self._bar.tasks[0].total is None:
            # Without ids, which do not fit on the line.
            description = event["message"].partition(": ")[0]
            self._bar.update(self._bar.tasks[0].id, description=description)

    def _add_metrics(self, message: str, data: Mapping[str, Any]) -> None:
        step, total = data["step"], data["total_steps"]
        if self._bar is None:
            if step % STEPS_BETWEEN_LINES == 0 or step in (1, total):
                self._ui.print_line(f"  {message}")
            return
        numbers = [f"loss {data['train_loss']:.3f}"] if "train_loss" in data else []
        if "tokens_per_second" in data:
            numbers.append(f"{format_rate(data['tokens_per_second'])} tokens/s")
        if (seconds_left := self._bar.tasks[0].time_remaining) is not None:
            numbers.append(f"{seconds_left:.0f} s left")
        self._bar.update(
            self._bar.tasks[0].id,
            description=f"step {step}/{total}",
            completed=step,
            total=total,
            numbers=", ".join(numbers),
        )
