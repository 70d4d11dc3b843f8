"""Labels that look alike: twins by case, invisible characters, spaces or spelling of accents.

They are different classes to a model, which rarely is what their author meant.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from app.formats.errors import escape_for_message

# Groups named in a report, and labels named of each.
MAX_SHOWN_GROUPS = 3
MAX_SHOWN_LABELS = 5


def look_alike_notes(labels: Mapping[str, int], first_lines: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each group of look-alike labels; `labels` are counts of examples."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        groups[appearance(label)].append(label)
    twins = [group for group in groups.values() if len(group) > 1]
    for group in twins[:MAX_SHOWN_GROUPS]:
        names = _spell_out(group)
        shown = ", ".join(
            f'"{names[label]}" ({labels[label]}, first in line {first_lines[label]})'
            for label in group[:MAX_SHOWN_LABELS]
        )
        more = f" and {len(group) - MAX_SHOWN_LABELS} more" if len(group) > MAX_SHOWN_LABELS else ""
        yield (
            f"The labels {shown}{more} look alike but are different classes, because labels are "
            "compared exactly. Write them in one way if they mean the same."
        )
    if len(twins) > MAX_SHOWN_GROUPS:
        yield f"{len(twins) - MAX_SHOWN_GROUPS} more groups of labels look alike."


def appearance(label: str) -> str:
    """Reduce a label to what a reader sees: no case, no invisible characters, one kind of space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    visible = "".join(
        character for character in folded if unicodedata.category(character) not in ("Cf", "Cc")
    )
    return " ".join(visible.split())


def _spell_out(group: Sequence[str]) -> dict[str, str]:
    """Write labels so that they can be told apart; accents, only if two differ in nothing else."""
    has_accent_twins = len({unicodedata.normalize("NFC", label) for label in group}) < len(group)
    return {
        label: escape_for_message(
            label.encode("ascii", "backslashreplace").decode() if has_accent_twins else label
        )
        for label in group
    }
