"""Training-file formats: parse and validate JSON Lines datasets, one example per line."""

from app.formats.chat import ChatExample, Message
from app.formats.dataset_summary import DatasetSummary, label_counts_sentence
from app.formats.errors import ErrorCode, LineError
from app.formats.format import FormatName
from app.formats.preference import PreferenceExample
from app.formats.reader import InvalidTrainingFile, iter_examples
from app.formats.report import render_report
from app.formats.validator import (
    MAX_ERRORS,
    MIN_TRAINING_EXAMPLES,
    DatasetValidator,
    ValidationReport,
)

__all__ = [
    "MAX_ERRORS",
    "MIN_TRAINING_EXAMPLES",
    "ChatExample",
    "DatasetSummary",
    "DatasetValidator",
    "ErrorCode",
    "FormatName",
    "InvalidTrainingFile",
    "LineError",
    "Message",
    "PreferenceExample",
    "ValidationReport",
    "iter_examples",
    "label_counts_sentence",
    "render_report",
]
