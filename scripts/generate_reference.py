"""Fill the generated regions of the documentation from the code.

    python -m scripts.generate_reference                  write every region
    python -m scripts.generate_reference settings cli     write only these
    python -m scripts.generate_reference --check          exit with 1 if a page is out of date

A page keeps its hand-written prose: only the lines between `<!-- begin generated: NAME -->` and
`<!-- end generated: NAME -->` are replaced. `make reference` writes the pages, `make docs` checks
them.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.reference import (
    chat_templates,
    code_map,
    command_line,
    compatibility,
    engine_options,
    http,
    metrics,
    settings,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class Region:
    """A generated part of a page. `lines` computes it from the code."""

    name: str
    page: str
    lines: Callable[[], Iterable[str]]

    @property
    def path(self) -> Path:
        return DOCS / self.page

    def render(self) -> str:
        """The page as it should be. Raises ValueError if it does not have the region once."""
        begin = f"<!-- begin generated: {self.name} -->"
        end = f"<!-- end generated: {self.name} -->"
        page = self.path.read_text(encoding="utf-8")
        region = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if len(region.findall(page)) != 1:
            raise ValueError(f"docs/{self.page} must contain {begin} and {end} once")
        content = "\n".join(self.lines()).strip()
        return region.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", page)

    def is_current(self) -> bool:
        """Compare the page with the output of `render`."""
        return self.render() == self.path.read_text(encoding="utf-8")


REGIONS = (
    Region("settings", "reference/settings.md", settings.lines),
    Region("cli", "reference/cli.md", command_line.lines),
    Region("errors", "reference/errors.md", http.errors),
    Region("http-api", "reference/http-api.md", http.operations),
    Region("compatibility-shares", "reference/compatibility.md", compatibility.shares),
    Region("compatibility-fields", "reference/compatibility.md", compatibility.fields),
    Region("metrics", "reference/metrics.md", metrics.lines),
    Region("engine-metrics", "reference/metrics.md", metrics.engine_lines),
    Region("chat-templates", "reference/chat-templates.md", chat_templates.lines),
    Region("engine-options", "guides/other-engines.md", engine_options.lines),
    Region("code-map", "contributing/code-map.md", code_map.lines),
)


def main() -> int:
    names = [region.name for region in REGIONS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("regions", nargs="*", metavar="REGION", help=f"one of {', '.join(names)}")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.regions) - set(names))
    if unknown:
        parser.error(f"unknown region: {', '.join(unknown)}")
    chosen = [each for each in REGIONS if not arguments.regions or each.name in arguments.regions]
    stale = [region for region in chosen if not region.is_current()]
    for region in stale:
        if arguments.check:
            sys.stdout.write(f"docs/{region.page} is out of date; run `make reference`\n")
        else:
            region.path.write_text(region.render(), encoding="utf-8")
            sys.stdout.write(f"Wrote docs/{region.page}\n")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
