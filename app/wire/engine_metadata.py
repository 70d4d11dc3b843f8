"""Metadata about an engine's response, sent to the API in a header that clients never see.

A header, so that the API forwards the body without parsing it. Engines that send none, such as
vLLM, are monitored only by request counts and durations.
"""

from enum import StrEnum

from pydantic import BaseModel, ValidationError

from app.histogram_bins import TEXT_LENGTH_BINS, BinCounts

METADATA_HEADER = "luthier-engine-metadata"
# Of a request to the engine: the id of the project whose share of the engine it takes.
PROJECT_HEADER = "luthier-project"
# Of a request to the engine: its Priority; without it, `live`.
PRIORITY_HEADER = "luthier-priority"
# Above this many texts `predicted_labels` is left out, since it would not fit into a header.
MAX_TEXTS_WITH_LABELS = 100


class Priority(StrEnum):
    """Priority of a request: somebody waits for the answer of a live one, nobody for a batch's."""

    LIVE = "live"
    BATCH = "batch"


class EngineMetadata(BaseModel):
    """Counts over the texts of one request; it contains no text.

    response_id          the id in the response's body, if it has one
    texts                number of texts
    tokens               tokens of all texts
    text_lengths         texts by their tokens, in TEXT_LENGTH_BINS
    unknown_token_ratio  texts by the share of tokens unknown to the training file, in RATIO_BINS
    confidence           texts by the probability of their label, in CONFIDENCE_BINS
    labels               predictions per label index
    unlabelled           texts to which no label applies
    predicted_labels     label indexes of each text
    """

    response_id: str | None = None
    texts: int = 1
    tokens: int = 0
    text_lengths: BinCounts = {}
    unknown_token_ratio: BinCounts = {}
    confidence: BinCounts = {}
    labels: BinCounts = {}
    unlabelled: int = 0
    predicted_labels: list[list[int]] | None = None

    def to_header(self) -> str:
        return self.model_dump_json(exclude_defaults=True)


def metadata_from_lengths(lengths: list[int], *, response_id: str | None = None) -> EngineMetadata:
    """Metadata of texts of which only the number of tokens is known."""
    return EngineMetadata(
        response_id=response_id,
        texts=len(lengths),
        tokens=sum(lengths),
        text_lengths=TEXT_LENGTH_BINS.count(lengths),
    )


def parse_header(header: str | None) -> EngineMetadata | None:
    """Parse the header. None if it is missing or malformed: monitoring must not fail a request."""
    if header is None:
        return None
    try:
        return EngineMetadata.model_validate_json(header)
    except ValidationError:
        return None
