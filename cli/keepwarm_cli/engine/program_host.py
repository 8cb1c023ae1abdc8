"""A language host for one program of this process, as the Automation API has for its inline programs.

Pulumi's own (`pulumi.automation._server`) leaves tasks and its event loop behind when the engine goes away in the
middle, which is just what a killed CLI or refused inputs do; this one clears up after itself.
"""

# The methods named like RPCs are the protocol's own; Pulumi's language.proto documents them.
# ruff: noqa: D102

import asyncio
import contextvars
import threading
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pulumi
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2
from pulumi.runtime.settings import reset_options
from pulumi.runtime.stack import run_in_stack

# gRPC shares connections by address within a process. The port of an engine that was killed may be given to the next
# one, which would then be taken for dead until the back-off of the old connection is over.
OWN_CONNECTIONS = ("grpc.use_local_subchannel_pool", 1)
if OWN_CONNECTIONS not in _GRPC_CHANNEL_OPTIONS:
    _GRPC_CHANNEL_OPTIONS.append(OWN_CONNECTIONS)


PATIENCE_S = 5.0
"""How long an end waits for a program; what then still runs is the program's own code, which nobody can interrupt."""


class ProgramHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs `program` whenever the engine asks."""

    def __init__(self, program: Callable[[], Any]) -> None:
        self._program = program
        self._changed = threading.Condition()
        self._stops: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}
        self._stopping = False

    def stop(self) -> bool:
        """End whatever still runs: an engine that is gone never resolves what its program waits for.

        False when a program's own code did not return within `PATIENCE_S`.
        """
        with self._changed:
            self._stopping = True
            for loop, stop in self._stops.items():
                loop.call_soon_threadsafe(stop.set)
            return self._changed.wait_for(lambda: not self._stops, PATIENCE_S)

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPackagesResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo()

    def About(self, request: Any, context: Any) -> Any:
        return language_pb2.AboutResponse()

    def Run(self, request: Any, context: Any) -> Any:
        return contextvars.copy_context().run(self._run, request)

    def _run(self, request: Any) -> Any:
        reset_options(
            project=request.project,
            monitor_address=request.monitor_address,
            engine_address=request.args[0] if request.args else "",
            organization=request.organization or "organization",
            stack=request.stack,
            parallel=request.parallel,
            preview=request.dryRun,
        )
        set_all_config(dict(request.config), list(request.configSecretKeys))
        loop = asyncio.new_event_loop()
        # The SDK waits for the engine in threads of this executor: as many as the engine works on at once, and some.
        loop.set_default_executor(ThreadPoolExecutor(max(request.parallel, 1) * 4))
        loop.set_exception_handler(lambda _, __: None)
        error = ""
        try:
            stop = asyncio.Event()
            with self._changed:
                self._stops[loop] = stop
                if self._stopping:
                    stop.set()
            loop.run_until_complete(_until(stop, run_in_stack(self._program)))
        except pulumi.RunError as refused:
            error = str(refused)
        except grpc.RpcError as lost:
            # An engine that is gone has nobody to tell; it gave its own reason to the user.
            if lost.code() != grpc.StatusCode.UNAVAILABLE:
                error = f"RPC error: {lost.details()}"
        except BaseException:  # the program is the user's: whatever it raises is for the user to see
            error = traceback.format_exc()
        finally:
            try:
                _drain(loop)
            finally:
                with self._changed:
                    loop.close()
                    self._stops.pop(loop, None)
                    self._changed.notify_all()
        return language_pb2.RunResponse(error=error)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Await the work, or leave it as it is when `stop` is set first."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """End every task and thread of a loop."""

    async def drain() -> None:
        # The SDK takes a first cancellation for an error of the program and goes on to wait for all it has begun.
        deadline = loop.time() + PATIENCE_S
        while (left := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < deadline:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)

    loop.run_until_complete(drain())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
