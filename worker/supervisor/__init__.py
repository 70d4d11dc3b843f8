"""Trains claimed jobs, each in a process of its own. Never imports torch."""
