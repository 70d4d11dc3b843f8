"""Base models before they are in the catalog: read from the hub or a folder, checked, written."""
