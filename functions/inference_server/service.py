"""The service itself: what it answers in which state, from the first byte of a request to its result event."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from inference_server import http
from inference_server.batching import Batcher, Entry, Observed, Reservation
from inference_server.engine import Reader, Reading
from inference_server.errors import (
    BadRequest,
    CorruptDocument,
    DeadlineExceeded,
    Draining,
    EngineFailed,
    KeyReused,
    NoSuchPath,
    NotReady,
    Overloaded,
    ServiceFault,
    UnsupportedDocument,
)
from inference_server.metrics import Gauge, Metrics
from inference_server.settings import ServerSettings

OCR_PATH = "/v1/ocr"
DEADLINE = "x-keepwarm-deadline-ms"
"""Header: milliseconds that are left when the request is sent. Relative, so that clocks need not agree."""
STATE = "X-Keepwarm-State"
"""Header of 503: `loading` or `draining`."""
MAX_DEADLINE_MS = 900_000
IO_THREADS = 4
"""Pictures fetched or decoded at the same time."""
SMALL_BODY = 64 * 1024
"""A refused body of at most this size is read, which keeps the connection for the retry."""

Fetch = Callable[[str, str, "str | None", float, int], bytes]
"""Fetches `(bucket, key, version_id, seconds, most bytes)`; raises ServiceFault."""
Emit = Callable[[dict[str, Any], dict[str, tuple[float, str]]], None]
"""Takes a result event and its metrics."""
Loaded = tuple[Reader, dict[str, Any]]


@dataclass(slots=True)
class _Call:
    """One request for OCR."""

    started_s: float
    deadline_s: float
    key: str
    outcome: str = "error"
    joined: bool = False
    batch_size: int = 0
    timings_ms: dict[str, float] | None = None
    fault: ServiceFault | None = None
    attempted_bytes: int = 0


class Service:
    """Loads once, serves until told to stop, drains, ends."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        load: Callable[[], Loaded],
        fetch: Fetch,
        emit: Emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._load = load
        self._fetch = fetch
        self._emit = emit
        self._clock = clock
        self._reader: Reader | None = None
        self._model: dict[str, Any] = {}
        self._state = "loading"
        self._fault = ""
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._io = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="io")
        self._in_flight: dict[str, tuple[str, asyncio.Future[dict[str, Any]]]] = {}
        self._connections = 0
        self._answering = 0
        self.metrics = Metrics()
        self._batcher: Batcher[Any, Reading] = Batcher(
            self._read_pictures,
            queue_max=settings.queue_max,
            batch_max=settings.batch_max,
            batch_wait_s=settings.batch_wait_s,
            clock=clock,
            observed=Observed(self._observe_batch, self.metrics.queue_s.observe),
        )
        self.metrics.gauges += [
            Gauge(
                "keepwarm_queue_depth",
                "Requests accepted and not yet in the model.",
                lambda: self._batcher.depth,
            ),
            Gauge("keepwarm_running", "Pictures in the model now.", lambda: self._batcher.running),
            Gauge(
                "keepwarm_goodput_ratio", "Share of requests answered well and in time.", self.metrics.goodput
            ),
            Gauge("keepwarm_ready", "1 when the service takes work.", lambda: float(self._state == "ready")),
            Gauge("keepwarm_connections", "Open connections.", lambda: self._connections),
        ]

    @property
    def state(self) -> str:
        """`loading`, `ready`, `draining` or `failed`."""
        return self._state

    async def run(self, stop: asyncio.Event, *, listening: Callable[[int], None]) -> int:
        """Serve until `stop` is set; the exit status: 0 all accepted work finished, 1 not, or the model did not load.

        `listening` is told the port as soon as the service answers, long before it is ready.
        """
        server = await asyncio.start_server(
            self._connection, self._settings.host, self._settings.port, limit=64 * 1024, backlog=512
        )
        listening(server.sockets[0].getsockname()[1])
        serving = asyncio.create_task(self._batcher.serve())
        loading = asyncio.create_task(self._become_ready())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._state == "failed":
                return 1
            await stopping
            return 0 if await self._drain() else 1
        finally:
            server.close()
            for task in (serving, loading, stopping):
                task.cancel()
            self._model_thread.shutdown(wait=False, cancel_futures=True)
            self._io.shutdown(wait=False, cancel_futures=True)

    async def _become_ready(self) -> None:
        """Fetch, verify, load and warm the model, off the loop: health is answered meanwhile."""
        try:
            loop = asyncio.get_running_loop()
            reader, self._model = await loop.run_in_executor(self._model_thread, self._load)
            self._reader = reader
        except Exception as fault:
            self._fault = f"{type(fault).__name__}: {fault}" if not hasattr(fault, "code") else str(fault)
            self._state = "failed"
            self._emit({"event": "keepwarm.service", "state": "failed", "error": self._fault}, {})
            return
        if not reader.joins:
            self._batcher.limit_batch(1)
        if self._state == "loading":
            self._state = "ready"
        self._emit({"event": "keepwarm.service", "state": self._state, "model": self._model}, {})

    async def _drain(self) -> bool:
        """Refuse new work, finish what was accepted, let the last answers out."""
        self._state = "draining"
        started_s = self._clock()
        self._emit({"event": "keepwarm.service", "state": "draining", "accepted": self._batcher.depth}, {})
        work_s = self._settings.drain_work_s
        finished = await self._batcher.drain(work_s)
        # Half of the margin for the last answers, the other half for the end of the process.
        answers_s = (work_s + self._settings.drain_s) / 2
        while self._answering and self._clock() - started_s < answers_s:
            await asyncio.sleep(0.01)
        self._emit({"event": "keepwarm.service", "state": "stopped", "finished": finished}, {})
        return finished

    # ------------------------------------------------------------------------------------------------- connections

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > self._settings.max_connections:
                fault = Overloaded(
                    "connections", f"{self._connections}", allowed=f"{self._settings.max_connections}"
                )
                await http.send(writer, http.Answer.refusal(fault), close=True)
                return
            while await self._exchange(reader, writer):
                pass
        except (http.Closed, ConnectionError):
            return
        finally:
            self._connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection has to end."""
        try:
            head = await http.read_head(
                reader, idle_s=self._settings.idle_timeout_s, head_s=self._settings.header_timeout_s
            )
        except ServiceFault as fault:
            await http.send(writer, http.Answer.refusal(fault), close=True)
            await http.linger(reader, writer)
            return False
        if head is None:
            return False
        self._answering += 1
        try:
            return await self._answer(head, reader, writer)
        finally:
            self._answering -= 1

    async def _answer(
        self, head: http.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        unread = head.length
        try:
            if head.path == OCR_PATH and head.method == "POST":
                answer, unread = await self._ocr(head, reader, writer)
            else:
                answer = self._look(head)
        except ServiceFault as fault:
            answer = http.Answer.refusal(fault)
        if unread and unread <= SMALL_BODY:
            await http.read_body(
                reader, writer, head, most=SMALL_BODY, seconds=self._settings.header_timeout_s
            )
            unread = 0
        close = bool(unread) or not head.keep_alive or self._state in {"draining", "failed"}
        if answer.status == 503:
            answer.headers[STATE] = "loading" if self._state == "ready" else self._state
        await http.send(writer, answer, close=close)
        if unread:
            await http.linger(reader, writer)
        return not close

    def _look(self, head: http.Head) -> http.Answer:
        """The pages that tell about the service."""
        pages = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._scrape}
        page = pages.get(head.path)
        if page is None:
            allowed = ", ".join((*pages, OCR_PATH))
            known = head.path == OCR_PATH
            raise NoSuchPath(
                "request",
                f"{head.method} {head.path[:80]}",
                allowed="POST" if known else allowed,
                wrong_method=known,
            )
        if head.method not in {"GET", "HEAD"}:
            raise NoSuchPath("request", f"{head.method} {head.path}", allowed="GET", wrong_method=True)
        answer = page()
        if head.method == "HEAD":
            answer.body = b""
        return answer

    def _health(self) -> http.Answer:
        """Alive: the loop answers. Not alive only once the model could not be loaded."""
        if self._state == "failed":
            return http.Answer.of({"state": self._state, "error": self._fault}, 500)
        return http.Answer.of({"state": self._state})

    def _readiness(self) -> http.Answer:
        facts = {
            "state": self._state,
            "model": self._model,
            "providers": self._reader.providers if self._reader else [],
            "queue_depth": self._batcher.depth,
        }
        if self._fault:
            facts["error"] = self._fault
        return http.Answer.of(facts, 200 if self._state == "ready" else 503)

    def _scrape(self) -> http.Answer:
        return http.Answer(200, self.metrics.text().encode(), "text/plain; version=0.0.4; charset=utf-8")

    # --------------------------------------------------------------------------------------------------------- OCR

    async def _ocr(
        self, head: http.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[http.Answer, int]:
        """Answer a request for OCR; the second value says how many bytes of its body were left unread."""
        started_s = self._clock()
        call = _Call(started_s, started_s + self._settings.default_deadline_s, "")
        unread = head.length
        try:
            call.key = _idempotency_key(head)
            call.deadline_s = started_s + self._deadline_s(head)
            with self._admit(call) as place:
                seconds = min(self._settings.body_timeout_s, max(0.001, call.deadline_s - self._clock()))
                body = await http.read_body(
                    reader, writer, head, most=self._settings.max_body_bytes, seconds=seconds
                )
                unread = 0
                result = await self._shared(call, head, body, place)
            return http.Answer.of(result), 0
        except ServiceFault as fault:
            call.fault, call.outcome = fault, type(fault).__name__
            return http.Answer.refusal(fault), unread
        except http.Closed:
            call.outcome = "client_gone"
            raise
        finally:
            self._report(call)

    def _deadline_s(self, head: http.Head) -> float:
        text = head.get(DEADLINE)
        if not text:
            return self._settings.default_deadline_s
        if not re.fullmatch(r"-?[0-9]{1,10}", text):
            raise BadRequest(
                f"header {DEADLINE}", repr(text[:30]), allowed=f"milliseconds, 1 to {MAX_DEADLINE_MS:,}"
            )
        if int(text) <= 0:
            raise DeadlineExceeded("request", f"{text} ms left on arrival", allowed="time to work in")
        return min(int(text), MAX_DEADLINE_MS) / 1000

    def _admit(self, call: _Call) -> Reservation[Any, Reading]:
        """Take a place, before a byte of the body is read."""
        if self._state == "loading":
            raise NotReady(
                "service", "a request while it loads its model", allowed="requests once /readyz is 200"
            )
        if self._state != "ready":
            raise Draining(
                "service", f"a request while it is {self._state}", allowed="requests while it is ready"
            )
        return self._batcher.reserve(call.deadline_s)

    async def _shared(
        self, call: _Call, head: http.Head, body: bytes, place: Reservation[Any, Reading]
    ) -> dict[str, Any]:
        """Do the work, or wait for the same work that another request has brought already."""
        if not call.key:
            return await self._work(call, head, body, place)
        content = hashlib.sha256(head.get("content-type").encode() + b"\n" + body).hexdigest()
        known = self._in_flight.get(call.key)
        if known is not None:
            return await self._join(call, content, known, place)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._in_flight[call.key] = (content, future)
        try:
            result = await self._work(call, head, body, place)
        except BaseException as fault:
            shared = (
                fault if isinstance(fault, ServiceFault) else NotReady("request", "a leader that went away")
            )
            future.set_exception(shared)
            future.exception()  # Somebody may wait for it; if nobody does, that is no error of its own.
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._in_flight[call.key]

    async def _join(
        self,
        call: _Call,
        content: str,
        known: tuple[str, asyncio.Future[dict[str, Any]]],
        place: Reservation[Any, Reading],
    ) -> dict[str, Any]:
        if known[0] != content:
            raise KeyReused(
                "header idempotency-key", "another body for a key in flight", allowed="the same body"
            )
        place.give_back()
        call.joined = True
        self.metrics.joined.add()
        try:
            return await asyncio.wait_for(
                asyncio.shield(known[1]), max(0.001, call.deadline_s - self._clock())
            )
        except TimeoutError:
            raise DeadlineExceeded(
                "request",
                "a deadline that passed while the same work ran",
                allowed="work that can still be on time",
            ) from None

    async def _work(
        self, call: _Call, head: http.Head, body: bytes, place: Reservation[Any, Reading]
    ) -> dict[str, Any]:
        """Fetch, decode, wait, read."""
        loop = asyncio.get_running_loop()
        received_s = self._clock()
        data = await self._picture(call, head, body)
        fetched_s = self._clock()
        call.attempted_bytes = len(data)
        assert self._reader is not None
        picture = await loop.run_in_executor(self._io, self._reader.decode, data)
        decoded_s = self._clock()
        entry: Entry[Any, Reading] = place.push(picture)
        reading = await entry.future
        ended_s = self._clock()
        call.batch_size = entry.batch_size
        call.timings_ms = {
            "receive": _ms(received_s - call.started_s),
            "fetch": _ms(fetched_s - received_s),
            "decode": _ms(decoded_s - fetched_s),
            "queue": _ms(entry.started_s - entry.accepted_s),
            "inference": _ms(entry.run_s),
            "total": _ms(ended_s - call.started_s),
        }
        call.outcome = "ok" if ended_s <= call.deadline_s else "late"
        return {
            "lines": [line._asdict() for line in reading.lines],
            "text": reading.text,
            "model": self._model,
            "batch_size": entry.batch_size,
            "timings_ms": call.timings_ms,
        }

    async def _picture(self, call: _Call, head: http.Head, body: bytes) -> bytes:
        """The picture's bytes: the body itself, or what its reference names."""
        kind = head.get("content-type").partition(";")[0].strip().lower()
        if kind == "application/json":
            bucket, key, version = parse_reference(body)
            left_s = max(0.001, call.deadline_s - self._clock())
            return await asyncio.get_running_loop().run_in_executor(
                self._io, self._fetch, bucket, key, version, left_s, self._settings.max_body_bytes
            )
        if kind and not kind.startswith("image/") and kind != "application/octet-stream":
            raise UnsupportedDocument(
                "header content-type",
                repr(kind[:60]),
                allowed="image/*, application/octet-stream, application/json",
            )
        if not body:
            raise CorruptDocument("body", "0 bytes")
        return body

    async def _read_pictures(self, pictures: Sequence[Any]) -> Sequence[Reading | Exception]:
        reader = self._reader
        if reader is None:
            raise EngineFailed("model", "no model")
        return await asyncio.get_running_loop().run_in_executor(self._model_thread, reader.read, pictures)

    def _observe_batch(self, size: int, seconds: float) -> None:
        self.metrics.batch.observe(size)
        self.metrics.inference_s.observe(seconds)

    def _report(self, call: _Call) -> None:
        """Count the request and emit its result event (contract C5)."""
        took_s = self._clock() - call.started_s
        left_s = call.deadline_s - self._clock()
        if call.joined and call.fault is None:
            call.outcome = "ok" if left_s >= 0 else "late"
        self.metrics.requests.add(call.outcome)
        self.metrics.request_s.observe(took_s)
        if call.outcome == "ok":
            self.metrics.good.add()
        record: dict[str, Any] = {
            "event": "keepwarm.result",
            "service": "inference",
            "key": call.key or None,
            "outcome": call.outcome,
            "cold": False,
            "pool": "resident",
            "duration_ms": _ms(took_s),
            "remaining_ms": max(0, round(left_s * 1000)),
            "model": self._model,
            "storage": {"bytes": call.attempted_bytes},
            "batch_size": call.batch_size,
            "joined": call.joined,
            "timings_ms": call.timings_ms or {},
            "queue_depth": self._batcher.depth,
        }
        if call.fault is not None:
            record["error"] = call.fault.as_body()["error"]
        self._emit(
            record,
            {
                "RequestMs": (_ms(took_s), "Milliseconds"),
                "Good": (float(call.outcome == "ok"), "Count"),
                "Refused": (float(isinstance(call.fault, Overloaded | Draining | NotReady)), "Count"),
                "QueueDepth": (float(self._batcher.depth), "Count"),
            },
        )


def _idempotency_key(head: http.Head) -> str:
    key = head.get("idempotency-key")
    if len(key) > 128 or not key.isprintable():
        raise BadRequest(
            "header idempotency-key", f"{len(key)} characters", allowed="1 to 128 printable characters"
        )
    return key


_REFERENCE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.{1,1024})")


def parse_reference(body: bytes) -> tuple[str, str, str | None]:
    """Bucket, key and version of `{"s3": "s3://bucket/key", "version_id": ...}`. Raises BadRequest."""
    allowed = '{"s3": "s3://bucket/key", "version_id": "..." or null}'
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise BadRequest("body", f"text that is not JSON ({type(fault).__name__})", allowed=allowed) from None
    place = value.get("s3") if isinstance(value, dict) else None
    version = value.get("version_id") if isinstance(value, dict) else None
    found = _REFERENCE.fullmatch(place) if isinstance(place, str) else None
    if found is None or not (version is None or (isinstance(version, str) and 0 < len(version) <= 1024)):
        raise BadRequest("body", repr(value)[:120], allowed=allowed)
    return found.group(1), found.group(2), version


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
