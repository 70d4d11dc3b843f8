"""Training-file formats: what an example is, and whether a file's lines are examples."""

from app.formats.chat import ChatExample, Message
from app.formats.dataset_summary import Summary, counted
from app.formats.errors import Fault
from app.formats.preference import PreferenceExample
from app.formats.reader import FaultyFile, read_as
from app.formats.report import report
from app.formats.validator import MOST_FAULTS, Judge, Verdict

__all__ = [
    "MOST_FAULTS",
    "ChatExample",
    "Fault",
    "FaultyFile",
    "Judge",
    "Message",
    "PreferenceExample",
    "Summary",
    "Verdict",
    "counted",
    "read_as",
    "report",
]
