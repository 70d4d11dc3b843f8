"""What the owner of a job should know of its data, once it is in tokens."""

from collections.abc import Iterable, Iterator, Sequence

from worker.training.encoders.rows import AnyRow


def notes(train: Sequence[AnyRow], valid: Sequence[AnyRow], length: int) -> Iterator[str]:
    """Sentences on texts that are cut off, and on those that are in both files."""
    for role, rows in (("training", train), ("validation", valid)):
        cut = _examples(row for row in rows if not row.whole)
        if cut:
            yield (
                f"{cut} of {_examples(rows)} examples of the {role} file are longer than the "
                f"{length} tokens that are read; what comes after them is left out."
            )
    known = {row.key for row in train}
    both = _examples(row for row in valid if row.key in known)
    if both:
        yield (
            f"{both} of {_examples(valid)} examples of the validation file are in the training "
            "file too: its measures are better than the model."
        )


def _examples(rows: Iterable[AnyRow]) -> int:
    """How many examples they are of: a long context makes several rows."""
    return len({row.source for row in rows})
