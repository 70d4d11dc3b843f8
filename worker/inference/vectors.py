"""Embeddings with fewer dimensions, and of length 1."""

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest


def shortened(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The first so many dimensions. Raises InvalidRequest if there are fewer."""
    if width > vectors.shape[1]:
        message = f"This model's embeddings have {vectors.shape[1]} dimensions."
        raise InvalidRequest(message, param="dimensions")
    return vectors[:, :width]


def of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
