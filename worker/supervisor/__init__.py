"""Supervises training: each attempt at a job runs in a subprocess. Never imports torch."""
