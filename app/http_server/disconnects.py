"""Work for a client, which ends early if the client disconnects."""

from collections.abc import Awaitable, Callable

from anyio import CancelScope, create_task_group
from starlette.types import Receive


async def run_until_disconnect(receive: Receive, work: Callable[[], Awaitable[None]]) -> bool:
    """Run `work`; cancel it and return False if the client disconnects before it is done.

    The body of the request must have been read.
    """
    is_done = False
    failure: Exception | None = None
    async with create_task_group() as group:
        group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
        try:
            await work()
            is_done = True
        except Exception as error:
            # Raised outside of the group, which would wrap it into an ExceptionGroup.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return is_done


async def _cancel_on_disconnect(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
