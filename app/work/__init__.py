"""Durable work over lists of items, such as the requests of a batch, under the rules of jobs.

A list has a row (`WorkList`), and is divided into ranges, which processes lease. What an item gives
is recorded with its index in the same transaction as its count, if the lease is still held: each
item counts once, whatever is killed, and a range is resumed behind what was recorded. To stop a
list takes all leases away at once.

To add a kind of work, such as evaluation runs:

1. A table of your own for what the owner sees, whose row has the id of its list. Create both in one
   transaction, by `lists.create`; `lists.start` too, if the items need no planning: then the first
   range can be leased at once.
2. An implementation of `kinds.WorkKind`. `plan` finds the items and calls `lists.start`.
   `open_range` returns a `kinds.RangeWork`, whose `run` does one item. `close_range` ends a range
   whose items are all done, by `leases.finish_range`. `finish` makes the results of the whole list,
   and ends it by `lists.end` or deletes it by `lists.delete_list`, in the transaction that changes
   your own row. Every transaction that writes calls `leases.lock_list` or `leases.finish_range`
   first, which raise LeaseLost.
3. Its name in `open_kinds` of `app.operations.work_kinds`, which the worker's io process runs.
4. To cancel: `lists.stop`. A list with `expires_at` is stopped by the reconciler. `finish` is
   called after both, with the reason.

Results stay rows of `WorkResult` as long as the list has its row, and can be listed by index. A
kind whose results are seen one by one, such as an evaluation's, ends its list without deleting it;
one whose results are large files them per range and deletes the rows.
"""
