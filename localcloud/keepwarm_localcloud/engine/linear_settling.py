"""Waits for a Pulumi program to settle in time linear in its size instead of quadratic.

pulumi's own `wait_for_rpcs` waits for the first of all outstanding outputs, and then again for the rest: every wait
hangs a callback on every task. With the 142 resources of the example stack that is four tenths of an update without
changes. Waiting until all are done (or one failed) and looking again for new ones ends at the same moment.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from keepwarm_localcloud.engine.process_wide import ProcessWide


async def _wait_for_rpcs(await_all_outstanding_tasks: bool = True) -> None:
    from pulumi.runtime import settings

    manager: Any = settings._get_rpc_manager()
    while True:
        while manager.rpcs:
            await asyncio.sleep(0)
            try:
                await manager.rpcs.pop()
            except Exception as error:
                if manager.unhandled_exception is not None:
                    cause = manager.unhandled_exception.with_traceback(manager.exception_traceback)
                    raise error from cause
                raise
        if manager.unhandled_exception is not None:
            raise manager.unhandled_exception.with_traceback(manager.exception_traceback)
        if await_all_outstanding_tasks:
            while outputs := _take_outputs(settings.SETTINGS):
                done, waiting = await asyncio.wait(outputs, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    await task
                with settings.SETTINGS.lock:
                    settings.SETTINGS.outputs.update(waiting)
        if not manager.rpcs:
            return


def _take_outputs(settings: Any) -> list[Any]:
    """Outstanding outputs; the set is emptied, so that what is added meanwhile is seen next."""
    with settings.lock:
        outputs = list(settings.outputs)
        settings.outputs.clear()
    return outputs


def _settle_linearly() -> Callable[[], object]:
    from pulumi.runtime import stack

    before = stack.wait_for_rpcs
    stack.wait_for_rpcs = _wait_for_rpcs
    return lambda: setattr(stack, "wait_for_rpcs", before)


LINEAR_SETTLING: Final = ProcessWide(_settle_linearly)
"""Let `pulumi.runtime.stack` settle programs this way inside the block."""
