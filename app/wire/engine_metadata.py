"""What an engine tells the API of each answer beside the answer itself; clients do not see it.

It travels in a header, so that the API passes an answer's body on unread. An engine that sends
none, such as vLLM, is monitored by what the API sees of it: requests and their time.
"""

from pydantic import BaseModel, ValidationError

from app.histogram_bins import TEXT_LENGTH_BINS, BinCounts

METADATA_HEADER = "luthier-observation"
# Of requests with more texts than this only sums are kept: what was found in each would not fit.
MAX_TEXTS_WITH_LABELS = 100


class EngineMetadata(BaseModel):
    """Counts over the texts of one request, and no word of them.

    answer_id   the id in the answer's body, if it has one
    tokens      of all texts
    lengths     texts by their tokens, on `histograms.LENGTHS`
    unknown     texts by the share of tokens that the training file does not have, on SHARES
    confidence  texts by the probability of their label, on CONFIDENCES
    labels      how often each label was found, by its place among the model's labels
    unlabelled  texts that no label applies to
    found       the places of each text's labels, of requests with few texts
    """

    answer_id: str | None = None
    texts: int = 1
    tokens: int = 0
    lengths: BinCounts = {}
    unknown: BinCounts = {}
    confidence: BinCounts = {}
    labels: BinCounts = {}
    unlabelled: int = 0
    found: list[list[int]] | None = None

    def to_header(self) -> str:
        return self.model_dump_json(exclude_defaults=True)


def metadata_from_lengths(lengths: list[int], *, answer_id: str | None = None) -> EngineMetadata:
    """Of texts of which only the tokens are counted."""
    return EngineMetadata(
        answer_id=answer_id,
        texts=len(lengths),
        tokens=sum(lengths),
        lengths=TEXT_LENGTH_BINS.count(lengths),
    )


def parse_header(header: str | None) -> EngineMetadata | None:
    """What an engine has sent; None for nothing, or for something else: monitoring is no reason
    to fail."""
    if header is None:
        return None
    try:
        return EngineMetadata.model_validate_json(header)
    except ValidationError:
        return None
