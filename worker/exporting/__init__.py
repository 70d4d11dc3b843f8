"""Conversion of a fine-tuned model to the layouts of other programs, in a process of its own."""
