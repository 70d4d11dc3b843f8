"""Exports: fine-tuned models as archives that other programs load, made by the trainers."""
