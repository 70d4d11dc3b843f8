"""Task and tokenized data of an encoder job, from the files of its run folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.wire.long_rows import LongRowPolicy
from worker.encoding.pooling import Pooling
from worker.encoding.rows.methods import ROW_METHODS, Examples
from worker.encoding.task import EncoderTask, Method, Tuning
from worker.encoding.tokenizer import EncoderTokenizer
from worker.run_folder import RunFolder
from worker.training.encoders import long_texts, methods
from worker.training.encoders.data_warnings import (
    answer_length_warnings,
    unspelled_entity_warnings,
)
from worker.training.encoders.drift_baseline import build_vocab_coverage
from worker.training.encoders.methods import DataSplit
from worker.training.encoders.warm_start import inherit_task


@dataclass(frozen=True, slots=True)
class TrainingExamples:
    """Examples of a training file, and the task that they are of.

    `numbers` are those of the examples in the file if some were left out, else none.
    """

    examples: Examples
    task: EncoderTask
    numbers: Sequence[int] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """Task, tokenizer and tokenized data of a job."""

    task: EncoderTask
    tokenizer: EncoderTokenizer
    train: DataSplit
    valid: DataSplit | None
    test: DataSplit | None = None
    warnings: Sequence[str] = ()


def read_training_examples(
    folder: RunFolder,
    method: Method,
    tokenizer: EncoderTokenizer,
    max_length: int,
    long_rows: LongRowPolicy,
) -> TrainingExamples:
    """Read the training file without the examples that `long_rows` leaves out.

    Raises TrainingError if the file has another format, long examples where these are errors, or no
    others.
    """
    examples = methods.read_examples(method, folder.train_file, param="training_file")
    # Also from examples that are left out: other files may have their labels.
    task = ROW_METHODS[method].infer_task(examples, max_length, tokenizer)
    if long_rows == LongRowPolicy.TRUNCATE:
        return TrainingExamples(examples, task)
    long = long_texts.find_long(examples, task, tokenizer)
    if long_rows == LongRowPolicy.ERROR:
        long_texts.require_none(long, len(examples), task, "training_file")
    if not long:
        return TrainingExamples(examples, task)
    kept, numbers = long_texts.leave_out(examples, long)
    warnings = long_texts.warn(long, len(examples), task, "training file", long_rows)
    return TrainingExamples(kept, task, numbers, warnings)


def complete_task(
    task: EncoderTask, initial_task: EncoderTask | None, tuning: Tuning, pooling: Pooling
) -> EncoderTask:
    """Complete the file's task, or inherit that of the model that training continues from."""
    complete = replace(task, tuning=tuning, pooling=pooling)
    return complete if initial_task is None else inherit_task(initial_task, complete)


def build_inputs(
    folder: RunFolder,
    training: TrainingExamples,
    tokenizer: EncoderTokenizer,
    long_rows: LongRowPolicy,
) -> TrainingInputs:
    """Tokenize the training examples and the other files, whose long texts are truncated, as those
    of requests are.

    Raises TrainingError if the validation file has long texts where these are errors.
    """
    task, examples = training.task, training.examples
    rows = ROW_METHODS[task.method].build_rows(examples, task, tokenizer)
    task = replace(
        task, vocab_coverage=build_vocab_coverage(rows, unk_id=tokenizer.unk_token_id).to_base64()
    )
    inputs = TrainingInputs(
        task,
        tokenizer,
        DataSplit(examples, rows, training.numbers),
        _read_split(folder.valid_file, task, tokenizer, param="validation_file"),
        _read_split(folder.test_file, task, tokenizer, param="test_file"),
    )
    if inputs.valid is not None and long_rows == LongRowPolicy.ERROR:
        long = long_texts.list_truncated(inputs.valid.rows)
        long_texts.require_none(long, len(inputs.valid.examples), task, "validation_file")
    return replace(inputs, warnings=[*training.warnings, *_collect_warnings(inputs)])


def _read_split(
    path: Path, task: EncoderTask, tokenizer: EncoderTokenizer, *, param: str
) -> DataSplit | None:
    if not path.exists():
        return None
    examples = methods.read_examples(task.method, path, param=param)
    return DataSplit(examples, ROW_METHODS[task.method].build_rows(examples, task, tokenizer))


def _collect_warnings(inputs: TrainingInputs) -> Iterator[str]:
    splits = [("training", inputs.train)]
    if inputs.valid is not None:
        splits.append(("validation", inputs.valid))
    for role, split in splits:
        long = long_texts.list_truncated(split.rows)
        yield from long_texts.warn(
            long, len(split.examples), inputs.task, f"{role} file", LongRowPolicy.TRUNCATE
        )
    for role, split in splits:
        if inputs.task.method == "question_answering":
            yield from answer_length_warnings(role, split.examples, split.rows)
        if inputs.task.method == "token_classification":
            yield from unspelled_entity_warnings(role, split, inputs.task)
