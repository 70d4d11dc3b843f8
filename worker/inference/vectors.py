"""Truncation and normalization of embeddings."""

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest


def truncate_dims(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Keep the first `width` of the dimensions. Raises InvalidRequest if there are fewer."""
    if width > vectors.shape[1]:
        message = f"This model's embeddings have {vectors.shape[1]} dimensions."
        raise InvalidRequest(message, param="dimensions")
    return vectors[:, :width]


def l2_normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
