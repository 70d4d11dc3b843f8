"""Human-readable validation reports."""

import json

from app.formats import DatasetValidator, render_report

GOOD = json.dumps(
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
).encode()


def rendered(data: bytes, *, all_errors: bool = False, most: int = 100) -> str:
    validator = DatasetValidator(max_errors=most)
    validator.feed(data)
    return "\n".join(render_report(validator.finish(), all_errors=all_errors))


def test_valid_file_is_one_line() -> None:
    assert rendered((GOOD + b"\n") * 1200) == "Good: 1,200 examples (chat format)."


def test_files_of_fewer_examples_than_training_needs() -> None:
    assert rendered(GOOD) == (
        "Good: 1 example (chat format).\n"
        "A training file needs at least 10 examples; a validation or test file may have fewer."
    )
    assert "needs at least" in rendered((GOOD + b"\n") * 9)
    assert rendered((GOOD + b"\n") * 10) == "Good: 10 examples (chat format)."
    assert rendered(b"{}").startswith("1 of 1 example cannot be used.")


def test_empty_file() -> None:
    assert rendered(b"").startswith("No examples.\n")


def test_errors_are_grouped_by_kind_most_frequent_first() -> None:
    lines = [GOOD, b"{oops}", *[b"{}"] * 3, GOOD, b"{}", b'{"messages": []}']
    text = rendered(b"\n".join(lines))
    assert text.startswith("6 of 8 examples cannot be used (chat format).\n\n4 times, first at")
    assert "\n4 times, first at line 3, byte 100: Example 3 is missing key 'messages'." in text
    assert "\n    lines 3-5, 7\n" in text
    assert "\nline 2, byte 93: Example 2 cannot be parsed." in text
    assert "\nline 8, byte " in text


def test_all_errors_lists_them_one_by_one() -> None:
    text = rendered(b"{}\n" * 30, all_errors=True)
    assert [line.partition(",")[0] for line in text.splitlines()[1:]] == [
        f"line {number}" for number in range(1, 31)
    ]


def test_many_line_ranges_are_truncated() -> None:
    text = rendered((b"{}\n" + GOOD + b"\n") * 30)
    assert "    lines 1, 3, 5, 7, 9, 11, 13, 15 and 22 more places" in text


def test_unlisted_errors_are_counted() -> None:
    assert "\n9,900 more errors are not listed.\n" in rendered(b"{}\n" * 20_000)
    assert "The rest of the file was not checked" in rendered(b"{}\n" * 20_000)


def test_notes_come_last() -> None:
    rows = b'{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n'
    assert rendered(rows * 2).endswith(
        '\n\n2 label(s): "b" 2, "d" 2.\n'
        "2 example(s) are duplicates, first in line 3 (as in line 1)."
    )
