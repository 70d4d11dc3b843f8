"""Notices of changes: a project's listeners are told which of its objects have changed."""
