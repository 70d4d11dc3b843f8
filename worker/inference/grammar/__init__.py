"""Grammars of structured outputs: which tokens may come next in a text of a given form."""
