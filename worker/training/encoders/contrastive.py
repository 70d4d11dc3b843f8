"""What methods have in common whose rows are judged by how near their texts lie to each other."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.encoding.backbone import l2_normalize
from worker.encoding.tokenizer import TokenizedText
from worker.training.encoders.objective import LengthGroupedObjective
from worker.training.encoders.rows import RowT, group_by_length

# What cosines are multiplied with before the exponential, as sentence-transformers has it.
SIMILARITY_SCALE = 20.0
# The largest batch that a job may ask for.
MAX_ROWS = 256


class ContrastiveObjective(LengthGroupedObjective[RowT]):
    """Batches that are never cut: the other rows are what a row is held against."""

    def split(self, rows: Sequence[RowT]) -> list[Sequence[RowT]]:
        """A batch as it is; a whole file, which is only measured, in the largest of batches."""
        return [rows[start : start + MAX_ROWS] for start in range(0, len(rows), MAX_ROWS)]

    def num_items(self, rows: Sequence[RowT]) -> int:
        return len(rows)

    def embed(self, texts: Sequence[TokenizedText]) -> Tensor:
        """The texts' vectors, of length 1 [texts, width].

        Of more texts than fit into memory nothing but the vectors is kept; the backward pass
        computes one piece after the other again. (Gao et al. 2021, "Scaling deep contrastive
        learning batch size under memory limited setup", without a second pass over the loss.)
        """
        sizes = [len(text.ids) for text in texts]
        parts = list(group_by_length(sizes, max_tokens=self._max_tokens, max_rows=self._max_rows))
        if len(parts) == 1:
            return self._embed(texts)
        found = [
            checkpoint(self._embed, [texts[place] for place in part], use_reentrant=False)
            for part in parts
        ]
        places = torch.tensor(list(chain.from_iterable(parts)), device=self.encoder.device)
        return torch.cat(found)[places.argsort()]

    def _embed(self, texts: Sequence[TokenizedText]) -> Tensor:
        return l2_normalize(self.encoder.text_vectors(texts))
