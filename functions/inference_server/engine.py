"""The OCR model: RapidOCR's own code on verified ONNX files, several pictures in one run where that helps.

What is read is exactly what the `rapidocr-onnxruntime` package reads from the same bytes: its own decoding, cutting and
sorting run unchanged. Only its calls of ONNX Runtime are joined: pictures of one batch run side by side, wait for each
other at every call, and tensors of the same shape go to the model as one. Different shapes are never padded together,
since padding changes what a picture's neighbors make of it.
"""

from __future__ import annotations

import copy
import io
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from inference_server.errors import CorruptDocument, EngineFailed, TooLargeDocument, UnsupportedDocument

MAX_PIXELS = 60_000_000
"""Largest picture, width x height: A4 in color at 800 dots per inch."""
FILES = {
    "det_model_path": "ch_PP-OCRv4_det_infer.onnx",
    "rec_model_path": "ch_PP-OCRv4_rec_infer.onnx",
    "cls_model_path": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
}
"""Argument of RapidOCR -> file of the model."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
_MARKS = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"BM", b"RIFF", b"GIF8")


class Line(NamedTuple):
    """One line of text on a picture."""

    text: str
    score: float
    box: list[list[float]]
    """Four corners, clockwise from the top left, in pixels."""


class Reading(NamedTuple):
    """What a picture says."""

    lines: list[Line]

    @property
    def text(self) -> str:
        """The lines, top to bottom."""
        return "\n".join(line.text for line in self.lines)


class Reader(Protocol):
    """What the service needs of a model."""

    providers: list[str]
    """Where it runs, as ONNX Runtime names it, preferred first."""
    joins: bool
    """Whether pictures read together are faster than one after the other. If not, each is answered when it is done."""

    def decode(self, data: bytes) -> Any:
        """Turn bytes into a picture. Raises CorruptDocument, TooLargeDocument, UnsupportedDocument."""
        ...

    def read(self, pictures: Sequence[Any]) -> list[Reading | Exception]:
        """Read pictures together: a reading or a failure for each, in order."""
        ...


class _Meeting:
    """Where the pictures of one batch wait for each other before each call of the model."""

    def __init__(self, members: int) -> None:
        self._members = members
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []

    def call(self, session: Callable[[Any], Any], tensor: Any) -> Any:
        """Run the model on a tensor, together with the others' of the same shape."""
        call = _Call(session, tensor)
        with self._changed:
            self._waiting.append(call)
            self._run_if_complete()
            while not call.done:
                self._changed.wait()
        if call.fault is not None:
            raise call.fault
        return call.output

    def leave(self) -> None:
        """Stop waiting for a picture that is finished."""
        with self._changed:
            self._members -= 1
            self._run_if_complete()

    def _run_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._members:
            return
        groups: dict[tuple[int, Any], list[_Call]] = {}
        for call in self._waiting:
            groups.setdefault((id(call.session), call.tensor.shape[1:]), []).append(call)
        self._waiting = []
        for calls in groups.values():
            _run_together(calls)
        self._changed.notify_all()


class _Call:
    __slots__ = ("done", "fault", "output", "session", "tensor")

    def __init__(self, session: Callable[[Any], Any], tensor: Any) -> None:
        self.session = session
        self.tensor = tensor
        self.output: Any = None
        self.fault: Exception | None = None
        self.done = False


def _run_together(calls: list[_Call]) -> None:
    """One run for tensors of one shape; each call gets its own rows back."""
    import numpy

    try:
        outputs = calls[0].session(
            calls[0].tensor if len(calls) == 1 else numpy.concatenate([call.tensor for call in calls])
        )
        at = 0
        for call in calls:
            rows = call.tensor.shape[0]
            call.output = [output[at : at + rows] for output in outputs]
            at += rows
    except Exception as fault:
        for call in calls:
            call.fault = fault
    for call in calls:
        call.done = True


class _Joined:
    """Stands where RapidOCR has its session: passes calls to the meeting of the batch, everything else through."""

    def __init__(self, session: Any, meeting: _Meeting) -> None:
        self._session = session
        self._meeting = meeting

    def __call__(self, tensor: Any) -> Any:
        return self._meeting.call(self._session, tensor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _stop_spinning() -> None:
    """Let ONNX Runtime's threads sleep while they wait, which RapidOCR has no option for.

    Spinning burns a third more CPU for the same text (measured on two cores), which neighbors on the machine, or the
    task's own HTTP loop, would pay for.
    """
    from rapidocr_onnxruntime.utils import infer_engine

    session = infer_engine.OrtInferSession
    made = session._init_sess_opts
    if getattr(made, "sleeps", False):
        return

    def options(config: dict[str, Any]) -> Any:
        chosen = made(config)
        chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return chosen

    options.sleeps = True  # type: ignore[attr-defined]
    session._init_sess_opts = staticmethod(options)


class OcrEngine:
    """RapidOCR with verified models, on the GPU where ONNX Runtime finds one."""

    def __init__(self, directory: Path, *, join: bool | None = None) -> None:
        import onnxruntime
        from rapidocr_onnxruntime import RapidOCR
        from rapidocr_onnxruntime.utils import LoadImage

        _stop_spinning()
        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        options: dict[str, Any] = {name: str(directory / file) for name, file in FILES.items()}
        options |= dict.fromkeys(("det_use_cuda", "cls_use_cuda", "rec_use_cuda"), cuda)
        self.threads = usable_cpus()
        self._ocr = RapidOCR(**options, intra_op_num_threads=self.threads)
        self._load = LoadImage()
        self.providers: list[str] = list(self._ocr.text_det.infer.session.get_providers())
        # A CPU is busy with one picture already: there, waiting for each other only costs (see docs/benchmarks.md).
        self.joins = self.providers[0] == "CUDAExecutionProvider" if join is None else join

    def decode(self, data: bytes) -> Any:
        """Turn bytes into a picture, as RapidOCR does, once its header promises a size that may be decoded."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                width, height = picture.size
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            struct.error,
            EOFError,
            TypeError,
        ) as fault:
            if data.startswith(_MARKS):
                raise CorruptDocument("picture", f"a broken header ({type(fault).__name__})") from None
            raise UnsupportedDocument(
                "picture", f"bytes that start with {data[:8].hex(' ')}", allowed=", ".join(FORMATS)
            ) from None
        except Image.DecompressionBombError:
            raise TooLargeDocument(
                "picture", "a decompression bomb", allowed=f"{MAX_PIXELS:,} pixels"
            ) from None
        if width * height > MAX_PIXELS:
            raise TooLargeDocument(
                "picture", f"{width:,} x {height:,} pixels", allowed=f"{MAX_PIXELS:,} pixels"
            )
        try:
            decoded = self._load(data)
        except (
            OSError,
            ValueError,
            SyntaxError,
            struct.error,
            EOFError,
            zlib.error,
            IndexError,
            TypeError,
        ) as fault:
            raise CorruptDocument("picture", f"data that can't be decoded ({fault})") from None
        except Exception as fault:
            # RapidOCR's own LoadImageError, and OpenCV's for a depth it can't convert.
            raise UnsupportedDocument(
                "picture", f"{type(fault).__name__}: {fault}", allowed="grey, RGB and RGBA with 8 bits"
            ) from None
        if str(decoded.dtype) != "uint8":
            raise UnsupportedDocument(
                "picture", f"samples of type {decoded.dtype}", allowed="8 bits in each channel"
            )
        return decoded

    def read(self, pictures: Sequence[Any]) -> list[Reading | Exception]:
        """Read pictures together; a failure of one leaves the others alone."""
        if len(pictures) == 1 or not self.joins:
            return [self._read_one(self._ocr, picture) for picture in pictures]
        meeting = _Meeting(len(pictures))

        def one(picture: Any) -> Reading | Exception:
            try:
                return self._read_one(self._member(meeting), picture)
            finally:
                meeting.leave()

        with ThreadPoolExecutor(len(pictures), thread_name_prefix="picture") as pool:
            return list(pool.map(one, pictures))

    def _member(self, meeting: _Meeting) -> Any:
        """A view of the engine for one picture: its own working state, everybody's models."""
        ocr = copy.copy(self._ocr)
        ocr.text_det = copy.copy(self._ocr.text_det)
        ocr.text_cls = copy.copy(self._ocr.text_cls)
        ocr.text_rec = copy.copy(self._ocr.text_rec)
        ocr.text_det.infer = _Joined(self._ocr.text_det.infer, meeting)
        ocr.text_cls.infer = _Joined(self._ocr.text_cls.infer, meeting)
        ocr.text_rec.session = _Joined(self._ocr.text_rec.session, meeting)
        return ocr

    @staticmethod
    def _read_one(ocr: Any, picture: Any) -> Reading | Exception:
        try:
            found, _ = ocr(picture)
        except Exception as fault:
            # A single picture's failure is its answer; anything else would take its batch along.
            return EngineFailed("model", f"{type(fault).__name__}: {str(fault).strip().splitlines()[-1:]}")
        return Reading([Line(text, round(float(score), 5), box) for box, text, score in found or ()])

    def warm_up(self) -> None:
        """Read a page of the usual size once, all three models: the first run allocates and chooses its kernels.

        Raises EngineFailed: the model can't read at all, so the service must not become ready.
        """
        import numpy
        from PIL import Image, ImageDraw, ImageFont

        page = Image.new("RGB", (1000, 1414), "white")
        pen, face = ImageDraw.Draw(page), ImageFont.load_default(size=28)
        for row in range(12):
            pen.text(
                (80, 80 + 100 * row), "The quick brown fox jumps over the lazy dog", fill="black", font=face
            )
        reading = self._read_one(self._ocr, numpy.asarray(page))
        if isinstance(reading, Exception):
            raise reading


def usable_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPUs that this task may use: those of its affinity, at most its control group's quota, at least 1.

    ONNX Runtime would start a thread for each CPU of the machine, which a task with a share of it can't feed.
    """
    import math
    import os

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if most == "max" else max(1, min(allowed, math.ceil(int(most) / int(period))))


def facts(engine: Reader, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What answers and readiness say of the model."""
    return {**manifest, "provider": engine.providers[0]}
