"""The inference service on a random port in a thread of its own, and a model whose speed the test decides."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_server.engine import Line, Reading
from inference_server.errors import CorruptDocument, EngineFailed
from inference_server.service import Loaded, Service
from inference_server.settings import ServerSettings
from infra import bundles
from tests.support.patience import PATIENCE_S, until

MODEL = {
    "name": "fake",
    "version": "1",
    "digest": "0" * 64,
    "cache": "hit",
    "provider": "CPUExecutionProvider",
}
"""Longest a test waits for something that must happen. Nothing waits this long unless it fails."""


def ocr_model() -> Path:
    """The directory of the real OCR model, as the build made it."""
    return bundles.build_models()["rapidocr"].directory


class GatedReader:
    """Reads a picture as its own bytes, once the gate is open. `batches` is what it was given."""

    def __init__(self, *, open_: bool = True) -> None:
        self.providers = ["CPUExecutionProvider"]
        self.joins = True
        self.gate = threading.Event()
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        if open_:
            self.gate.set()

    def decode(self, data: bytes) -> str:
        if data.startswith(b"broken"):
            raise CorruptDocument("picture", "data that can't be decoded")
        return data.decode()

    def read(self, pictures: Sequence[str]) -> list[Reading | Exception]:
        self.batches.append(list(pictures))
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if "explode" in pictures:
            raise RuntimeError("the whole run failed")
        return [
            EngineFailed("model", "poison") if picture == "poison" else Reading([Line(picture, 1.0, [])])
            for picture in pictures
        ]


@dataclass
class Answered:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass
class Running:
    """A service that runs, and ways to talk to it."""

    port: int
    service: Service
    events: list[dict[str, Any]]
    stop: Callable[[], None]
    result: "Future[int]"
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            data = response.read()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        finally:
            connection.close()

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def ocr(self, body: bytes, **headers: str) -> Answered:
        return self.ask("POST", "/v1/ocr", body, **({"content_type": "image/png"} | headers))

    def later(self, body: bytes, **headers: str) -> "Future[Answered]":
        return self.pool.submit(self.ocr, body, **headers)

    def raw(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes as they are and return everything that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            back = bytearray()
            while piece := connection.recv(65_536):
                back += piece
            return bytes(back)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the service does on its own."""
        wait_for(condition)


def wait_for(condition: Callable[[], bool]) -> None:
    until(condition, "waited in vain")


@contextmanager
def inference(
    reader: Any = None,
    *,
    load: Callable[[], Loaded] | None = None,
    fetch: Callable[..., bytes] | None = None,
    ready: bool = True,
    clock: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> Iterator[Running]:
    """Run a service until the block ends; it is ready on entry unless `ready` says otherwise."""
    model = reader if reader is not None else GatedReader()
    events: list[dict[str, Any]] = []
    listening: Future[int] = Future()
    ended: Future[int] = Future()
    stopper: list[Callable[[], None]] = []

    def no_fetch(*_: Any) -> bytes:
        raise AssertionError("nothing is fetched in this test")

    service_box: list[Service] = []

    def run() -> None:
        async def serve() -> int:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()

            def stop_soon() -> None:
                loop.call_soon_threadsafe(stop.set)

            stopper.append(stop_soon)
            service = Service(
                ServerSettings.from_env({}, host="127.0.0.1", port=0, **settings),
                load=load or (lambda: (model, dict(MODEL))),
                fetch=fetch or no_fetch,
                emit=lambda record, metrics: events.append({**record, "metrics": metrics}),
                clock=clock,
            )
            service_box.append(service)
            return await service.run(stop, listening=listening.set_result)

        try:
            ended.set_result(asyncio.run(serve()))
        except BaseException as fault:
            ended.set_exception(fault)
            if not listening.done():
                listening.set_exception(fault)

    thread = threading.Thread(target=run)
    thread.start()
    running = Running(listening.result(PATIENCE_S), service_box[0], events, stopper[0], ended)
    try:
        if ready:
            running.until(lambda: service_box[0].state == "ready")
        yield running
    finally:
        if not ended.done():
            running.stop()
        gate = getattr(model, "gate", None)
        if gate is not None:
            gate.set()
        thread.join(PATIENCE_S)
        running.pool.shutdown()
        assert not thread.is_alive(), "the service did not stop"
