"""Policies for examples that are longer than a row: the hyperparameter `long_rows`."""

from enum import StrEnum


class LongRowPolicy(StrEnum):
    """Policy for an example that does not fit into a row: the values of `long_rows`."""

    TRUNCATE = "truncate"
    DROP = "drop"
    ERROR = "error"


# Of each method; encoder methods truncate texts, as those of requests are. A pair of truncated
# outputs would not be the preference that the file states.
DEFAULT_POLICIES = {"dpo": LongRowPolicy.DROP}


def get_default_policy(method: str) -> LongRowPolicy:
    """Get the policy of a job that names none."""
    return DEFAULT_POLICIES.get(method, LongRowPolicy.TRUNCATE)
