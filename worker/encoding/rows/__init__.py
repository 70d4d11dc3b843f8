"""Training rows of encoders: examples of a file, tokenized, with their targets.

The same for training and for the preview of a file.
"""
