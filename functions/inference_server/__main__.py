"""Start of the container: `python -m inference_server`."""

from __future__ import annotations

# isort: off
from keepwarm_runtime.phases import (
    IMPORTED_S,
    LIFECYCLE,
    from_ecs_metadata,
    measure,
)  # first: it starts the clock

# numpy's BLAS starts a thread per processor, which all spin while they have nothing to do: half of the processor time
# of the imports. ONNX Runtime, which does the work, has threads of its own.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# isort: on
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from inference_server import errors
from inference_server.service import Loaded, Service
from inference_server.settings import ServerSettings


def load() -> Loaded:
    """Fetch and verify the model, load it, and read one page with it."""
    import rapidocr_onnxruntime  # noqa: F401 - with OpenCV and ONNX Runtime most of the imports

    from inference_server.engine import OcrEngine, facts
    from keepwarm_runtime.warm import WARM

    LIFECYCLE.imports_done(IMPORTED_S, time.monotonic())
    _container_phases()
    model = WARM.model()
    with measure("load"):
        engine = OcrEngine(Path(model.directory))
    with measure("warmup"):
        engine.warm_up()
    return engine, {**facts(engine, model.as_event()), "phases": LIFECYCLE.init.milliseconds()}


def _container_phases() -> None:
    """Image pull and sandbox, where ECS tells; without its metadata they stay unknown."""
    address = os.environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if not address:
        return
    import urllib.request

    try:
        with urllib.request.urlopen(f"{address}/task", timeout=2) as answer:  # noqa: S310 - the agent's own address
            times = from_ecs_metadata(json.load(answer))
    except (OSError, ValueError) as fault:
        emit(
            {"event": "keepwarm.service", "state": "loading", "metadata": f"{type(fault).__name__}: {fault}"},
            {},
        )
        return
    for name, seconds in times.items():
        LIFECYCLE.init.add(name, seconds)


def fetch(bucket: str, key: str, version_id: str | None, seconds: float, most: int) -> bytes:
    """Fetch a picture with the task's own role."""
    from keepwarm_runtime import errors as runtime
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.documents import read_document
    from keepwarm_runtime.warm import WARM

    where = f"s3://{bucket}/{key}"
    try:
        read = read_document(
            WARM.s3(), bucket, key, version_id=version_id, max_bytes=most, deadline=Deadline.after(seconds)
        )
    except runtime.EmptyDocument:
        raise errors.CorruptDocument(where, "0 bytes") from None
    except runtime.TooLargeDocument as fault:
        raise errors.TooLargeDocument(where, fault.got, allowed=fault.allowed) from None
    except runtime.DeadlineExceeded as fault:
        raise errors.DeadlineExceeded(where, fault.got) from None
    except runtime.RuntimeFault as fault:
        kind = errors.SourceUnavailable if fault.retry else errors.SourceRefused
        raise kind(where, fault.got) from None
    return read.data


def emit(record: dict[str, Any], metrics: dict[str, tuple[float, str]]) -> None:
    """Write one event line, in the embedded metric format."""
    from keepwarm_runtime import events

    name = os.environ.get("KEEPWARM_SERVICE_NAME", "inference")
    events.emit(record, metrics, dimension=("Service", name))


def main() -> int:
    """Serve until SIGTERM: 0 after a clean drain, 1 if work was left or the model did not load, 2 for bad settings."""
    try:
        settings = ServerSettings.from_env(os.environ)
    except errors.InvalidSetting as fault:
        print(fault, file=sys.stderr)
        return 2
    service = Service(settings, load=load, fetch=fetch, emit=emit)

    async def serve() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await service.run(
            stop,
            listening=lambda port: emit(
                {"event": "keepwarm.service", "state": "listening", "port": port}, {}
            ),
        )

    try:
        return asyncio.run(serve())
    except OSError as fault:
        reason = os.strerror(fault.errno or 0)
        print(
            f"KW363 PORT: got {settings.port} ({reason}); allowed a free port; fix: stop what listens there",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Threads of a model that hangs must not keep a drained task alive.
    os._exit(status)
