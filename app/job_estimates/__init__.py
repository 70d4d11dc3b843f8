"""Estimates of jobs before they are created: their numbers, tokens, time and memory."""
