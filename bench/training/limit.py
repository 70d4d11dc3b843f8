"""The processor's limit of a chat workload: its arithmetic over the rate of matrix products."""

from collections.abc import Sequence

import torch
from transformers import AutoConfig

from bench.training.flops import FlopCount, mean_rate
from bench.training.tasks import Item, Workload, list_rows
from bench.training.turns import run_json
from worker.training.batching import collate, split_by_tokens
from worker.training.objective_building import MAX_TOKENS


class Limit:
    """Operations that the rows need, and those left where micro-batches share prefixes."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._config = AutoConfig.from_pretrained(workload.task.model)
        self._flops = FlopCount.of_config(self._config)
        rows = [row for step in workload.steps for row in list_rows(step)]
        labels = sum(len(row.label_positions) for row in rows)
        self._label_share = labels / sum(len(row.ids) for row in rows)
        self.nominal = self._flops.for_rows(rows)
        self.executed = sum(map(self._count_executed, workload.steps))

    def _count_executed(self, step: Sequence[Item]) -> float:
        max_tokens = MAX_TOKENS[self._workload.task.device]
        total = 0.0
        for part in split_by_tokens(step, max_tokens=max_tokens):
            rows = sorted(list_rows(part), key=lambda row: row.num_tokens)
            batch = collate(rows, torch.device("cpu"))
            lengths = [row.num_tokens for row in rows]
            total += self._flops.count(len(batch.ids), lengths, len(batch.labels))
        return total

    def measure_rate(self) -> tuple[float, dict[str, float]]:
        """Measure operations per second: averaged over the workload's shapes, and of each."""
        rates = run_json("bench.training.flops", str(self._workload.folder))
        return mean_rate(rates, self._config, self._flops, self._label_share), rates
