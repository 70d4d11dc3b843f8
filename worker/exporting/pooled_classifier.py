"""Text classifier: a linear head on the pooled states of any base model of transformers.

For architectures whose own class in transformers pools otherwise, or has no bias in its head.
This file is part of an exported model and needs only torch and transformers. Load the model with
`AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True)`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(PreTrainedModel):
    """`config.pooling` is "mean", "cls" or "last"."""

    base_model_prefix = "backbone"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.backbone = AutoModel.from_config(config, trust_remote_code=False)
        self.head = nn.Linear(config.get_text_config().hidden_size, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_ignored: object,
    ) -> SequenceClassifierOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        states = self.backbone(**inputs).last_hidden_state.float()
        logits = self.head(self._pool(states, attention_mask))
        loss = None
        if labels is not None:
            is_multi = self.config.problem_type == "multi_label_classification"
            loss_function = nn.BCEWithLogitsLoss() if is_multi else nn.CrossEntropyLoss()
            loss = loss_function(logits, labels.float() if is_multi else labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        if self.config.pooling == "cls":
            return states[:, 0]
        if self.config.pooling == "last":
            positions = torch.arange(states.shape[1], device=states.device)
            last = (positions * attention_mask).argmax(1)
            return states[torch.arange(len(states), device=states.device), last]
        weights = attention_mask[..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)
