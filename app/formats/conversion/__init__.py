"""Conversion of public datasets to training files, row by row, in the memory of one row."""

from app.formats.conversion.convert import Conversion
from app.formats.conversion.row_converters import ConversionOptions
from app.formats.conversion.sources import UnreadableSource

__all__ = ["Conversion", "ConversionOptions", "UnreadableSource"]
