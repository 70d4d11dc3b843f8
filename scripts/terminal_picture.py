"""Render a recorded terminal session as an SVG picture.

    rm -rf .luthier && COLUMNS=100 script --quiet --command 'make up' recording
    python -m scripts.terminal_picture recording docs/assets/make-up.svg

Install before, with `make install`, so that the recording has no installer output. Press Ctrl-C
when both models have answered.

The picture shows the final state of the terminal: a progress bar that was redrawn appears once. The
lines from the first one that starts with `--until` on are left out; by default that is the line
with the API key.
"""

import argparse
import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 100
COMMAND = "\x1b[1;32m$\x1b[0m make up"
# A control sequence, a control character, or text up to the next of them.
TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b.|[\r\n]|[^\x1b\r\n]+")
FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)
SCRIPT_BANNER = re.compile(r"Script (started|done) on .*")


def final_lines(recording: str) -> list[str]:
    """Return the lines on the terminal at the end, with their colours.

    Supports the control sequences that rich and pip write: colours, cursor up, erase line.
    """
    lines, row = [""], 0
    for token in TOKEN.finditer(recording):
        text, count, kind = token[0], token[1], token[2]
        if text == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif kind == "A":
            row = max(0, row - int(count or 1))
        elif text == "\r" or kind == "K":
            # After a carriage return, rich and pip erase the line before they write it again.
            lines[row] = "" if kind == "K" else lines[row]
        elif kind == "m" or not text.startswith("\x1b"):
            lines[row] += text
    return [line.rstrip() for line in lines]


def shown_lines(recording: str, *, until: str) -> list[str]:
    """Return the lines of a session up to the first that starts with `until`."""
    shown: list[str] = []
    for line in final_lines(recording.replace("\r\n", "\n")):
        plain = Text.from_ansi(line).plain
        if plain.startswith(until):
            break
        if not SCRIPT_BANNER.match(plain):
            shown.append(line)
    return shown


def render(lines: list[str], *, title: str) -> str:
    """Render lines as an SVG that loads no font: viewers use their own monospace font."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines).strip()))
    template = FONT_FACE.sub("", CONSOLE_SVG_FORMAT)
    # A constant id, so that a new recording changes few lines of the file.
    svg = console.export_svg(title=title, code_format=template, unique_id="terminal")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--until", default="URL  http", help="start of the first line to leave out")
    arguments = parser.parse_args()
    # As bytes: reading text would turn the carriage returns of a progress bar into line breaks.
    recording = arguments.recording.read_bytes().decode(errors="replace")
    lines = [COMMAND, *shown_lines(recording, until=arguments.until)]
    arguments.picture.write_text(render(lines, title="make up"), encoding="utf-8")


if __name__ == "__main__":
    main()
