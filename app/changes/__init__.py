"""Notices of changes: a project's listeners learn which of its objects have changed."""
