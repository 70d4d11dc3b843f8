"""Parses answers into text, reasoning and calls of tools, while they are generated."""
