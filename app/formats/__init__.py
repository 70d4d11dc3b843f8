"""Training-file formats: what an example is, and whether a file's lines are examples."""

from app.formats.chat import ChatExample, Message
from app.formats.faults import Fault
from app.formats.judge import MOST_FAULTS, Judge, Verdict
from app.formats.preference import PreferenceExample
from app.formats.reading import FaultyFile, read_as
from app.formats.reporting import report
from app.formats.tally import Summary, counted

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
