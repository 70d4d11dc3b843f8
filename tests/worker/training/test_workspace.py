"""Memory that a training step keeps for the next one."""

import torch

from worker.training.workspace import CHUNK_BYTES, Workspace


def addresses(workspace: Workspace, *sizes: int) -> list[int]:
    return [workspace.empty(size, dtype=torch.float32).data_ptr() for size in sizes]


def test_tensors_do_not_overlap_and_are_aligned() -> None:
    workspace = Workspace(torch.device("cpu"))
    tensors = [workspace.empty(3, size, dtype=torch.bfloat16) for size in (1, 33, 64, 5)]
    for value, tensor in enumerate(tensors):
        tensor.fill_(value)
    assert [tensor.unique().tolist() for tensor in tensors] == [[0], [1], [2], [3]]
    starts = {tensor.data_ptr() - tensors[0].data_ptr() for tensor in tensors}
    assert len(starts) == 4
    assert not any(start % 64 for start in starts)


def test_the_next_step_has_the_same_memory() -> None:
    workspace = Workspace(torch.device("cpu"))
    # The second does not fit into a chunk.
    sizes = (1000, CHUNK_BYTES, 77)
    first = addresses(workspace, *sizes)
    workspace.release_all()
    assert addresses(workspace, *sizes) == first


def test_what_is_released_is_used_again() -> None:
    workspace = Workspace(torch.device("cpu"))
    (kept,) = addresses(workspace, 10)
    with workspace.released_after():
        (inner,) = addresses(workspace, 10)
    assert addresses(workspace, 10) == [inner]
    assert inner != kept


def test_a_larger_step_does_not_add_to_the_memory_of_a_smaller_one() -> None:
    workspace = Workspace(torch.device("cpu"))
    # Numbers of four bytes: half a chunk each.
    rest = [CHUNK_BYTES // 8] * 6
    held = []
    for chunks in (2, 3, 4, 3):
        workspace.release_all()
        addresses(workspace, 10, chunks * CHUNK_BYTES // 4, *rest)
        held.append(workspace.num_bytes // CHUNK_BYTES)
    assert held == [1 + 2 + 3, 1 + 3 + 3, 1 + 4 + 3, 1 + 4 + 3]
