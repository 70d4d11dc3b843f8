"""Rows of embeddings: pairs, triplets, or texts of the same label."""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence, Set
from dataclasses import dataclass

from app.formats import InvalidTrainingFile
from app.formats.classification import LabelledText
from app.formats.embedding import ScoredTextPair, TextPair
from worker.encoding.rows import similarity
from worker.encoding.rows.similarity import ScoredPairRow
from worker.encoding.task import EncoderTask
from worker.encoding.tokenizer import EncoderTokenizer, TokenizedText


@dataclass(frozen=True, slots=True)
class PairExample:
    """An anchor with a positive and possibly a hard negative.

    Texts of one `group` have the same meaning and are never each other's in-batch negatives. With
    `from_labels`, the positive is a random other text of the same label.
    """

    anchor: str
    positive: str
    negative: str | None
    group: str
    example_index: int
    from_labels: bool


@dataclass(frozen=True, slots=True, eq=False)
class TripletRow:
    """A tokenized PairExample.

    The groups of a text are those of all its occurrences in the file: a negative has some if it is
    also an anchor or a positive.
    """

    anchor: TokenizedText
    positive: TokenizedText
    negative: TokenizedText | None
    anchor_groups: Set[int]
    positive_groups: Set[int]
    negative_groups: Set[int]
    example_index: int
    from_labels: bool

    @property
    def num_tokens(self) -> int:
        negative = 0 if self.negative is None else len(self.negative.ids)
        return len(self.anchor.ids) + len(self.positive.ids) + negative

    @property
    def is_complete(self) -> bool:
        negative = self.negative is None or self.negative.is_complete
        return self.anchor.is_complete and self.positive.is_complete and negative

    @property
    def baseline_texts(self) -> Sequence[tuple[Hashable, TokenizedText]]:
        if self.from_labels:
            return ((self.example_index, self.anchor),)
        return tuple((text_key(text), text) for text in (self.anchor, self.positive))


def make_examples(
    rows: Iterable[TextPair | ScoredTextPair | LabelledText],
) -> Sequence[PairExample] | Sequence[ScoredTextPair]:
    """Make the examples of pairs or triplets, of labelled texts (which are paired), or of scored
    pairs.

    Raises InvalidTrainingFile if no text has a label.
    """
    rows = list(rows)
    scored = [row for row in rows if isinstance(row, ScoredTextPair)]
    unscored = [
        PairExample(
            pair.anchor,
            pair.positive,
            pair.negative,
            pair.positive,
            example_index,
            from_labels=False,
        )
        for example_index, pair in enumerate(rows)
        if isinstance(pair, TextPair)
    ]
    return (
        scored
        or unscored
        or _pair_by_label([item for item in rows if isinstance(item, LabelledText)])
    )


def _pair_by_label(texts: Sequence[LabelledText]) -> list[PairExample]:
    """Pair the texts that have the same set of labels; texts without labels are skipped."""
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for example_index, item in enumerate(texts):
        if item.labels:
            groups["\0".join(sorted(item.labels))].append((item.text, example_index))
    if not groups:
        raise InvalidTrainingFile("No text has a label, so no pairs of similar texts can be made.")
    examples = []
    for label, members in sorted(groups.items()):
        # Seeded by the label: the pairs depend on the file, not on the job's seed.
        random.Random(label).shuffle(members)
        others = members[1:] + members[:1]
        for (text, example_index), (other, _) in zip(members, others, strict=True):
            examples.append(PairExample(text, other, None, label, example_index, from_labels=True))
    return examples


def infer_task(
    examples: Sequence[PairExample], length: int, tokenizer: EncoderTokenizer
) -> EncoderTask:
    """Infer the task; embeddings have no labels."""
    return EncoderTask(method="embedding", max_length=length)


def build_rows(
    examples: Sequence[PairExample] | Sequence[ScoredTextPair],
    task: EncoderTask,
    tokenizer: EncoderTokenizer,
) -> list[TripletRow] | list[ScoredPairRow]:
    """Tokenize the examples, all of which are scored, or none."""
    scored = [example for example in examples if isinstance(example, ScoredTextPair)]
    if scored:
        return similarity.build_rows(scored, tokenizer)
    return build_triplets(
        [example for example in examples if isinstance(example, PairExample)], tokenizer
    )


def build_triplets(
    examples: Sequence[PairExample], tokenizer: EncoderTokenizer
) -> list[TripletRow]:
    """Tokenize the examples."""
    anchors = tokenizer.tokenize([item.anchor for item in examples])
    positives = tokenizer.tokenize([item.positive for item in examples])
    tokenized_negatives = iter(
        tokenizer.tokenize([item.negative for item in examples if item.negative is not None])
    )
    negatives = [None if item.negative is None else next(tokenized_negatives) for item in examples]
    groups = _group_ids([*anchors, *positives], [item.group for item in examples] * 2)
    return [
        TripletRow(
            anchor,
            positive,
            negative,
            groups[text_key(anchor)],
            groups[text_key(positive)],
            frozenset() if negative is None else groups.get(text_key(negative), frozenset()),
            item.example_index,
            item.from_labels,
        )
        for item, anchor, positive, negative in zip(
            examples, anchors, positives, negatives, strict=True
        )
    ]


def _group_ids(texts: Iterable[TokenizedText], names: Sequence[str]) -> dict[bytes, Set[int]]:
    """Number the groups of each distinct text; `names` has the group of each occurrence."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    group_ids: dict[bytes, set[int]] = defaultdict(set)
    for text, name in zip(texts, names, strict=True):
        group_ids[text_key(text)].add(numbers[name])
    return dict(group_ids)


def text_key(text: TokenizedText) -> bytes:
    return text.ids.tobytes()
