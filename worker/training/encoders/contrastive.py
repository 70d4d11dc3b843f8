"""What methods have in common whose rows are judged by how near their texts lie to each other."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.encoding.backbone import normalised
from worker.encoding.tokenizer import Text
from worker.training.encoders.objective import Batches
from worker.training.encoders.rows import RowT, pieces

# What cosines are multiplied with before the exponential, as sentence-transformers has it.
SCALE = 20.0
# The largest batch that a job may ask for.
MOST_ROWS = 256


class Contrast(Batches[RowT]):
    """Batches that are never cut: the other rows are what a row is held against."""

    def split(self, rows: Sequence[RowT]) -> list[Sequence[RowT]]:
        """A batch as it is; a whole file, which is only measured, in the largest of batches."""
        return [rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS)]

    def count(self, rows: Sequence[RowT]) -> int:
        return len(rows)

    def vectors(self, texts: Sequence[Text]) -> Tensor:
        """The texts' vectors, of length 1 [texts, width].

        Of more texts than fit into memory nothing but the vectors is kept; the backward pass
        computes one piece after the other again. (Gao et al. 2021, "Scaling deep contrastive
        learning batch size under memory limited setup", without a second pass over the loss.)
        """
        sizes = [len(text.ids) for text in texts]
        parts = list(pieces(sizes, max_tokens=self._max_tokens, max_rows=self._max_rows))
        if len(parts) == 1:
            return self._vectors(texts)
        found = [
            checkpoint(self._vectors, [texts[place] for place in part], use_reentrant=False)
            for part in parts
        ]
        places = torch.tensor(list(chain.from_iterable(parts)), device=self.encoder.device)
        return torch.cat(found)[places.argsort()]

    def _vectors(self, texts: Sequence[Text]) -> Tensor:
        return normalised(self.encoder.vectors(texts))
