"""Errors of conversions that a retry does not cure."""


class UnsupportedExport(Exception):
    """The model cannot be written in this format; the message is a sentence for the client."""
