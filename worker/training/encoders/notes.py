"""What the owner of a job should know of its data, once it is in tokens."""

from collections.abc import Iterator, Sequence

from worker.training.encoders.rows import AnyRow


def notes(train: Sequence[AnyRow], valid: Sequence[AnyRow], length: int) -> Iterator[str]:
    """Sentences on texts that are cut off, and on those that are in both files."""
    for role, rows in (("training", train), ("validation", valid)):
        cut = sum(not row.whole for row in rows)
        if cut:
            yield (
                f"{cut} of {len(rows)} examples of the {role} file are longer than the {length} "
                "tokens that are read; what comes after them is left out."
            )
    known = {row.key for row in train}
    both = sum(row.key in known for row in valid)
    if both:
        yield (
            f"{both} of {len(valid)} examples of the validation file are in the training file too: "
            "its measures are better than the model."
        )
