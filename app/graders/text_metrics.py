"""Similarity of two texts by OpenAI's metrics, from 0 to 1, except for cosine similarity.

BLEU is sacrebleu's of one sentence; GLEU and METEOR are NLTK's, METEOR without synonyms, whose data
NLTK would download. ROUGE is computed here, since rouge-score is published without a wheel.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq
from sacrebleu import sentence_bleu

# As rouge-score splits English; of other languages it would keep only the letters a to z.
ROUGE_WORD = re.compile(r"[^\W_]+")
MAX_ROUGE_ORDER = 5
# Metrics whose work grows with the product of the texts' lengths.
PAIRWISE_METRICS = frozenset({"fuzzy_match", "meteor", "rouge_l"})


class _NoSynonyms:
    """Stand-in for WordNet: METEOR then matches words and their stems."""

    def synsets(self, _word: str) -> list[object]:
        return []


def fuzzy_match(text: str, reference: str) -> float:
    """Normalized indel similarity."""
    return float(fuzz.ratio(text, reference)) / 100


def bleu(text: str, reference: str) -> float:
    return float(sentence_bleu(text, [reference]).score) / 100


def gleu(text: str, reference: str) -> float:
    # NLTK takes a third of the time in which the API starts, and few graders need it.
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.gleu_score import sentence_gleu

    return float(sentence_gleu([wordpunct_tokenize(reference)], wordpunct_tokenize(text)))


def meteor(text: str, reference: str) -> float:
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import single_meteor_score

    words, right = wordpunct_tokenize(text), wordpunct_tokenize(reference)
    return float(single_meteor_score(right, words, wordnet=_NoSynonyms()))


def rouge_n(text: str, reference: str, order: int) -> float:
    """F1 of the runs of `order` words that both texts have."""
    first, second = (_count_ngrams(_rouge_words(each), order) for each in (text, reference))
    return _f1((first & second).total(), first.total(), second.total())


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    first, second = _rouge_words(text), _rouge_words(reference)
    return _f1(LCSseq.similarity(first, second), len(first), len(second))


def _rouge_words(text: str) -> list[str]:
    return ROUGE_WORD.findall(text.lower())


def _count_ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _f1(common: int, first: int, second: int) -> float:
    return 2 * common / (first + second) if common else 0.0


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    "rouge_l": rouge_l,
    **{f"rouge_{n}": partial(rouge_n, order=n) for n in range(1, MAX_ROUGE_ORDER + 1)},
}
