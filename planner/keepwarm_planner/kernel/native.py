"""The C kernel through ctypes. Loading it takes a millisecond when it is built."""

import ctypes
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from random import Random

from keepwarm_planner.kernel.build import HERE, BuildError, build, cache_dir, library_name
from keepwarm_planner.kernel.plain import Row
from keepwarm_planner.kernel.shape import BINS, Cold, CoreDesign, S
from keepwarm_planner.kernel.tail import TailRow

_ROW = 6
_TAIL_ROW = 5
_D = ctypes.c_double
_I = ctypes.c_int64
_P = ctypes.c_void_p


def _words(stream: Random) -> "ctypes.Array[ctypes.c_uint32]":
    """State of a fresh generator; its first call twists, in C as in Python."""
    state = stream.getstate()[1]
    if state[-1] != 624:
        raise ValueError("the stream was used already")
    return (ctypes.c_uint32 * 624)(*state[:624])


def _doubles(values: Sequence[float]) -> "array[float]":
    return values if isinstance(values, array) and values.typecode == "d" else array("d", values)


def _address(values: "array[float]") -> int:
    return values.buffer_info()[0]


def _ours(path: Path) -> bool:
    """A library that another user could have put there is not loaded."""
    status = path.stat()
    return not hasattr(os, "getuid") or (status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022)


def built() -> Path | None:
    """The kernel as it lies in the package or in the cache; None when it has yet to be built."""
    for folder in (HERE, cache_dir()):
        path = folder / library_name()
        if path.is_file() and _ours(path):
            return path
    return None


class Native:
    """The loaded library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lib = ctypes.CDLL(str(path))
        lib.keepwarm_plain.argtypes = [_D, _D, _D, _I, _I, _P, _P, _I, _P]
        lib.keepwarm_plain.restype = ctypes.c_int
        lib.keepwarm_core_new.argtypes = [_D, _I, _I, _D, _D, _D, _D, _I, ctypes.c_int, _D, _P, _I, _P]
        lib.keepwarm_core_new.restype = _P
        lib.keepwarm_core_free.argtypes = [_P]
        lib.keepwarm_core_free.restype = None
        lib.keepwarm_core_feed.argtypes = [_P, _P, _P, _I]
        lib.keepwarm_core_resize.argtypes = [_P, _D, _I]
        lib.keepwarm_core_read.argtypes = [_P, _D, _P, _P, _P]
        lib.keepwarm_source_new.argtypes = [_P]
        lib.keepwarm_source_new.restype = _P
        lib.keepwarm_source_free.argtypes = [_P]
        lib.keepwarm_source_free.restype = None
        lib.keepwarm_fill.argtypes = [_P, ctypes.c_int, _D, _P, _I, _I, _P]
        lib.keepwarm_fill.restype = None
        lib.keepwarm_poisson.argtypes = [_P, _D, _D, _P, _P, _I]
        lib.keepwarm_poisson.restype = _I
        lib.keepwarm_spread.argtypes = [_P, _D, _D, _I, _P]
        lib.keepwarm_spread.restype = None
        lib.keepwarm_spectrum.argtypes = [_I, _P, _P, _P]
        lib.keepwarm_tail.argtypes = [_D, _D, _D, _I, _I, _I, _P, _P, _P, _P, _P, _I, _P]
        self.lib = lib

    def plain(
        self,
        rate: float,
        service_mean: float,
        timeout: float,
        provisioned: int,
        limit: int,
        gaps: Random,
        services: Random,
        ends: list[float],
    ) -> list[Row]:
        """As `plain.run`. Releases the interpreter lock while it runs."""
        words = (ctypes.c_uint32 * 1248)(*_words(gaps), *_words(services))
        edges = array("d", ends)
        rows = array("d", bytes(8 * _ROW * len(ends)))
        if self.lib.keepwarm_plain(
            rate, service_mean, timeout, provisioned, limit, words, _address(edges), len(ends), _address(rows)
        ):
            raise MemoryError("the kernel could not get memory for its environments")
        return [
            (rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4], rows[i + 5])
            for i in range(0, len(rows), _ROW)
        ]

    def spectrum(self, diagonal: Sequence[float], off: Sequence[float]) -> tuple[list[float], list[float]]:
        """As `tail.spectrum`."""
        n = len(diagonal)
        d, e, z = array("d", diagonal), array("d", [*off, 0.0]), array("d", bytes(8 * n))
        if self.lib.keepwarm_spectrum(n, _address(d), _address(e), _address(z)):
            raise ArithmeticError("the spectrum does not converge")
        return list(d), list(z)

    def tail(
        self,
        rate: float,
        service_mean: float,
        timeout: float,
        group: int,
        limit: int,
        accept: Sequence[float],
        other: Sequence[int],
        phase_rate: Sequence[float],
        stream: Random,
        ends: Sequence[float],
    ) -> list[TailRow]:
        """As `tail.run`. Releases the interpreter lock while it runs."""
        a, o, r = array("d", accept), array("q", other), array("d", phase_rate)
        edges, rows = array("d", ends), array("d", bytes(8 * _TAIL_ROW * len(ends)))
        if self.lib.keepwarm_tail(
            rate,
            service_mean,
            timeout,
            group,
            limit,
            len(a),
            _address(a),
            o.buffer_info()[0],
            _address(r),
            _words(stream),
            _address(edges),
            len(ends),
            _address(rows),
        ):
            raise MemoryError("the kernel could not get memory for its environments")
        return [
            (rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4])
            for i in range(0, len(rows), _TAIL_ROW)
        ]


class CCore:
    """One design under way in C; the same methods as `PyCore`."""

    def __init__(self, native: Native, design: CoreDesign, cold_stream: Random) -> None:
        self.d = design
        self._lib = native.lib
        table = array("d", design.cold_table)
        self._core = self._lib.keepwarm_core_new(
            design.timeout,
            design.limit,
            design.queue_limit,
            design.deadline,
            design.target,
            design.rate_limit,
            design.rate_window,
            design.provisioned,
            int(design.cold_kind),
            design.cold_mean,
            _address(table),
            len(table),
            _words(cold_stream),
        )
        if not self._core:
            raise MemoryError("the kernel could not get memory for a design")

    def _checked(self, rc: int) -> None:
        if rc:
            raise MemoryError("the kernel could not get memory for its environments")

    def feed(self, times: Sequence[float], services: Sequence[float]) -> None:
        """Arrivals in time order, each with the service it needs. Not before what was fed so far."""
        t, s = _doubles(times), _doubles(services)
        if len(t) != len(s):
            raise ValueError("times and services differ in length")
        self._checked(self._lib.keepwarm_core_feed(self._core, _address(t), _address(s), len(t)))

    def resize(self, t: float, size: int) -> None:
        """The provisioned pool has `size` environments from `t` on."""
        self._checked(self._lib.keepwarm_core_resize(self._core, t, size))

    def read(self, t: float) -> list[float]:
        """Cumulative figures at `t`, in the order of `S`."""
        out = array("d", bytes(8 * len(S)))
        self._checked(self._lib.keepwarm_core_read(self._core, t, _address(out), None, None))
        return list(out)

    def histograms(self) -> tuple[list[int], list[int]]:
        """Counts per bin of latency and of queue wait."""
        out = array("d", bytes(8 * len(S)))
        latency, wait = array("q", bytes(8 * BINS)), array("q", bytes(8 * BINS))
        self._checked(
            self._lib.keepwarm_core_read(
                self._core, 0.0, _address(out), latency.buffer_info()[0], wait.buffer_info()[0]
            )
        )
        return list(latency), list(wait)

    def close(self) -> None:
        """Gives the memory back."""
        core, self._core = self._core, None
        if core:
            self._lib.keepwarm_core_free(core)

    def __del__(self) -> None:
        if getattr(self, "_core", None):
            self.close()


class CSource:
    """One stream of variates in C; the same methods as `PySource`."""

    def __init__(self, native: Native, stream: Random) -> None:
        self._lib = native.lib
        self._source = self._lib.keepwarm_source_new(_words(stream))
        if not self._source:
            raise MemoryError("the kernel could not get memory for a stream")

    def fill(self, kind: Cold, mean: float, table: Sequence[float], n: int) -> "array[float]":
        """n values of a constant, an exponential or a quantile table."""
        out, points = array("d", bytes(8 * n)), _doubles(table)
        self._lib.keepwarm_fill(
            self._source, int(kind), mean, _address(points), len(points), n, _address(out)
        )
        return out

    def poisson(self, rate: float, end: float, t: float, room: int) -> "tuple[array[float], float]":
        """Poisson arrivals from t on (t is the first), at most `room` and before `end`; and the next one."""
        out, now = array("d", bytes(8 * room)), ctypes.c_double(t)
        n = self._lib.keepwarm_poisson(self._source, rate, end, ctypes.byref(now), _address(out), room)
        del out[n:]
        return out, now.value

    def spread(self, start: float, end: float, n: int) -> "array[float]":
        """n uniform points of [start, end) in rising order."""
        out = array("d", bytes(8 * n))
        self._lib.keepwarm_spread(self._source, start, end, n, _address(out))
        return out

    def close(self) -> None:
        """Gives the memory back."""
        source, self._source = self._source, None
        if source:
            self._lib.keepwarm_source_free(source)

    def __del__(self) -> None:
        if getattr(self, "_source", None):
            self.close()


def load_or_build() -> Native:
    """The kernel, built into the user's cache when it is not there. Raises `BuildError`."""
    path = built() or build(cache_dir() / library_name())
    try:
        return Native(path)
    except OSError as e:
        raise BuildError(f"{path.name} does not load: {e}") from e
