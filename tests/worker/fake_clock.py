"""A fake monotonic clock."""


class FakeClock:
    """Seconds that pass only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
