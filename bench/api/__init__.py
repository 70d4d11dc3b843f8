"""The API against bare routes that do the same reading or writing: each arm one JSON line."""
