"""Views of training files: their rows as a base model reads them, statistics, and leakage.

The rows are read in the CPU pool and rendered by an engine, which has the tokenizers.
"""
