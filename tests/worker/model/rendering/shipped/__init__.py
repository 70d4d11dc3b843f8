"""Chat templates as model families ship them, and hand-written expectations of each."""
