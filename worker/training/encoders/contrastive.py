"""Base of the contrastive objectives: texts are compared within a batch by cosine similarity."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.encoding.backbone import l2_normalize
from worker.encoding.rows.embedding import text_key
from worker.encoding.tokenizer import TokenizedText
from worker.training.encoders.micro_batches import RowT, group_by_length
from worker.training.encoders.objective import LengthGroupedObjective

# Factor of cosines before the softmax (inverse temperature), as in sentence-transformers.
SIMILARITY_SCALE = 20.0
# Maximum batch size of a job.
MAX_ROWS = 256


class ContrastiveObjective(LengthGroupedObjective[RowT]):
    """A loss over whole batches: each row is compared with all others, so batches are not split."""

    def split(self, rows: Sequence[RowT]) -> list[Sequence[RowT]]:
        """Keep a batch whole; a validation file is split into batches of `MAX_ROWS`."""
        return [rows[start : start + MAX_ROWS] for start in range(0, len(rows), MAX_ROWS)]

    def num_items(self, rows: Sequence[RowT]) -> int:
        return len(rows)

    def embed(self, texts: Sequence[TokenizedText]) -> Tensor:
        """Embed texts as vectors of length 1 [texts, width].

        Without a gradient, equal texts are embedded once: each labelled text is in two pairs.
        """
        if torch.is_grad_enabled():
            return self._embed_each(texts)
        distinct = {text_key(text): text for text in texts}
        places = {key: place for place, key in enumerate(distinct)}
        return self._embed_each(list(distinct.values()))[[places[text_key(text)] for text in texts]]

    def _embed_each(self, texts: Sequence[TokenizedText]) -> Tensor:
        """Embed all texts, also equal ones.

        If the texts do not fit into memory at once, only their vectors are kept and the backward
        pass recomputes one part after the other: the gradient cache of Gao et al. 2021, "Scaling
        Deep Contrastive Learning Batch Size under Memory Limited Setup", implemented by
        activation checkpointing.
        """
        sizes = [len(text.ids) for text in texts]
        parts = list(group_by_length(sizes, max_tokens=self._max_tokens, max_rows=self._max_rows))
        if len(parts) == 1:
            return self._embed(texts)
        vectors = [
            checkpoint(self._embed, [texts[index] for index in part], use_reentrant=False)
            for part in parts
        ]
        order = torch.tensor(list(chain.from_iterable(parts)), device=self.encoder.device)
        return torch.cat(vectors)[order.argsort()]

    def _embed(self, texts: Sequence[TokenizedText]) -> Tensor:
        return l2_normalize(self.encoder.embed_texts(texts))
