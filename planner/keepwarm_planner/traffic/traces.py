"""Arrivals: generators, and traces streamed from CSV or Parquet in flat memory.

A source yields chunks of at most `CHUNK` rising times (seconds from its start), with services where the trace
has durations. Files come in two shapes:

* arrivals: a line per request; a column `time_s`, `time_ms`, `time_us` or `time_ns`, or `time`/`timestamp` in
  ISO 8601; optionally `duration_s` or `duration_ms`;
* counts: `minute,count` lines, or a line per function with columns `1`..`1440` as the public Azure Functions
  traces have (https://github.com/Azure/AzurePublicDataset, AzureFunctionsDataset2019).

The unit is part of the column's name, so that it need not be guessed.
"""

import csv
import operator
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import inf, isfinite
from pathlib import Path
from typing import IO

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel
from keepwarm_planner.traffic.source import CHUNK, DAY_S, MAX_REQUESTS, MINUTE_S, Chunk, Progress, Source

MAX_LINE = 1 << 20
"""Longest line of a trace in bytes: an Azure line of 1,440 minutes has a tenth of it."""

DECADE_S = 3_652.5 * DAY_S
"""No trace has such a gap: one that seems to changes its unit half-way. And no trace starts so late on its own
clock: times beyond are dates, and count from the midnight (UTC) before the first."""

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests per stretch of time, spread evenly at random within each: per-minute traces."""

    name: str
    counts: Sequence[int]
    period_s: float = MINUTE_S
    fixed: bool = False
    has_services: bool = False

    def expected(self) -> float:
        """The counts' sum: the trace is exact about how many."""
        return float(sum(self.counts))

    def horizon_s(self) -> float | None:
        """All periods."""
        return len(self.counts) * self.period_s

    def chunks(self, kernel: Kernel, seed: str) -> Iterator[Chunk]:
        """Order statistics of uniform points, period by period; a huge count comes in several parts."""
        source = kernel.source(f"{seed}/arrivals")
        rng = random.Random(f"{seed}/split")  # noqa: S311
        for i, count in enumerate(self.counts):
            start = i * self.period_s
            yield from self._period(source.spread, rng, start, start + self.period_s, count)
        source.close()

    def _period(
        self,
        spread: Callable[[float, float, int], Sequence[float]],
        rng: random.Random,
        start: float,
        end: float,
        count: int,
    ) -> Iterator[Chunk]:
        if count <= 4 * CHUNK:
            if count:
                yield spread(start, end, count), None
            return
        # Half the stretch gets a binomial half of the count (normal approximation: the count is large).
        first = min(max(round(rng.gauss(count / 2, (count / 4) ** 0.5)), 0), count)
        middle = (start + end) / 2
        yield from self._period(spread, rng, start, middle, first)
        yield from self._period(spread, rng, middle, end, count - first)


# ---- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a header says."""

    time: int
    scale: float | None
    """Seconds per unit; None for ISO 8601."""
    duration: int | None
    duration_scale: float
    width: int
    has_header: bool


@dataclass(frozen=True, slots=True)
class ArrivalFile:
    """A line per request."""

    path: Path
    columns: _Columns
    limit: float = MAX_REQUESTS
    progress: Progress | None = None
    fixed: bool = True

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def has_services(self) -> bool:
        """Whether lines carry durations."""
        return self.columns.duration is not None

    def expected(self) -> float:
        """Estimated from the file's size and the length of its first lines."""
        size = self.path.stat().st_size
        with self.path.open("rb") as f:
            sample = f.read(65_536)
        lines = sample.count(b"\n")
        return size / max(len(sample) / max(lines, 1), 1.0)

    def horizon_s(self) -> float | None:
        """Known at the end only."""
        return None

    def chunks(self, kernel: Kernel, seed: str) -> Iterator[Chunk]:
        """Neither kernel nor seed matters."""
        return self.read()

    def read(self) -> Iterator[Chunk]:
        """Chunks of the file; raises KW503 to KW509 with the line at fault."""
        checker = _Checker(self.path, self.limit)
        size = max(self.path.stat().st_size, 1)
        try:
            with self.path.open("rb") as f:
                if self.columns.has_header:
                    f.readline(MAX_LINE)
                    checker.line = 2
                for block in _blocks(f, self.path, checker):
                    times, services = self._parse(block, checker)
                    if len(times):
                        yield times, services
                    if self.progress is not None:
                        self.progress(min(f.tell() / size, 1.0))
        except OSError as e:
            raise PlannerError("KW503", str(self.path), e.strerror or str(e), "a readable file") from e
        checker.finish()

    def _parse(self, block: bytes, checker: "_Checker") -> Chunk:
        c = self.columns
        if c.width == 1 and c.scale is not None:
            try:
                times = array("d", map(float, block.split()))
                plain = block.count(b"\n") + (not block.endswith(b"\n")) == len(times) and b"_" not in block
            except ValueError:
                plain = False
            if plain:
                if c.scale != 1.0:
                    times = array("d", [t * c.scale for t in times])
                checked = checker.accept(times)
                if checked is not None:
                    return checked, None
        return self._parse_lines(block, checker)

    def _parse_lines(self, block: bytes, checker: "_Checker") -> Chunk:
        """Line by line, to name the line at fault (and for more than one column)."""
        c = self.columns
        times, services = array("d"), array("d") if c.duration is not None else None
        first_line = checker.line
        for offset, raw in enumerate(block.split(b"\n")):
            if not raw.strip():
                continue
            line = first_line + offset
            cells = raw.rstrip(b"\r").split(b",") if c.width > 1 else [raw]
            if len(cells) != c.width:
                raise PlannerError(
                    "KW508",
                    str(self.path),
                    f"{len(cells)} columns",
                    f"{c.width} as in the first line",
                    line=line,
                )
            t = _time(cells[c.time], c.scale, self.path, line)
            checker.one(t, line)
            times.append(t - checker.origin)
            if services is not None and c.duration is not None:
                services.append(_number(cells[c.duration], self.path, line) * c.duration_scale)
        checker.line = first_line + block.count(b"\n")
        return times, services


def _blocks(f: IO[bytes], path: Path, checker: "_Checker") -> Iterator[bytes]:
    """Whole lines, about a megabyte at a time."""
    rest = b""
    while True:
        data = f.read(1 << 20)
        if not data:
            if rest:
                yield rest
            return
        data = rest + data
        cut = data.rfind(b"\n")
        if cut < 0:
            if len(data) > MAX_LINE:
                raise PlannerError(
                    "KW509",
                    str(path),
                    f"a line of over {MAX_LINE} bytes",
                    "lines of a trace",
                    line=checker.line,
                )
            rest = data
            continue
        yield data[: cut + 1]
        rest = data[cut + 1 :]


class _Checker:
    """Order, finiteness and size of what is read; remembers only the last time."""

    def __init__(self, path: Path, limit: float) -> None:
        self.path = path
        self.limit = limit
        self.line = 1
        self.origin = 0.0
        self.last = -inf
        self.seen = 0

    def accept(self, times: "array[float]") -> "array[float] | None":
        """A whole block at once, counted from the origin; None when a line of it must be named."""
        if not len(times):
            return times
        gaps = map(operator.le, times, islice(times, 1, None))
        fine = (
            times[0] >= max(self.last, 0.0)
            and times[-1] < inf
            and all(gaps)
            and (self.last == -inf or times[0] - self.last < DECADE_S)
            and times[-1] - times[0] < DECADE_S
            and self.seen + len(times) <= self.limit
        )
        if not fine:
            return None
        self._begin(times[0])
        self.last = times[-1]
        self.seen += len(times)
        self.line += len(times)
        return array("d", [t - self.origin for t in times]) if self.origin else times

    def _begin(self, first: float) -> None:
        if self.seen == 0 and first > DECADE_S:
            self.origin = first // DAY_S * DAY_S

    def one(self, t: float, line: int) -> None:
        """One time, with the error it deserves."""
        who = str(self.path)
        if not isfinite(t) or t < 0.0:
            raise PlannerError("KW505", who, t, "a finite time, 0 or later", line=line)
        if t < self.last:
            raise PlannerError(
                "KW506",
                who,
                f"{t:.9g} s after {self.last:.9g} s",
                "times that never fall",
                fix=f"sort -n {self.path.name}",
                line=line,
            )
        if self.last > -inf and t - self.last > DECADE_S:
            raise PlannerError(
                "KW507",
                who,
                f"a gap of {(t - self.last) / DAY_S / 365:.0f} years",
                "one unit throughout",
                because="the file seems to change its unit here",
                line=line,
            )
        self._begin(t)
        self.last = t
        self.seen += 1
        if self.seen > self.limit:
            raise PlannerError(
                "KW509",
                who,
                f"over {self.limit:.3g} arrivals",
                "at most that many",
                fix="raise --max-requests",
                line=line,
            )

    def finish(self) -> None:
        """An empty trace decides nothing."""
        if self.seen == 0:
            raise PlannerError("KW504", str(self.path), "no arrivals", "at least one line with a time")


def _number(cell: bytes | str, path: Path, line: int) -> float:
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell
    text = text.strip()
    try:
        value = float(text if "_" not in text else "")
    except ValueError:
        unit = next((u for u in ("ms", "us", "ns", "s", "min", "h") if text.endswith(u)), None)
        if unit and _is_number(text[: -len(unit)]):
            raise PlannerError(
                "KW507",
                str(path),
                repr(text),
                "numbers alone",
                because="the unit is part of the column's name",
                line=line,
            ) from None
        raise PlannerError("KW505", str(path), repr(text[:40]), "a number", line=line) from None
    if not isfinite(value) or value < 0.0:
        raise PlannerError("KW505", str(path), text, "a finite number, 0 or more", line=line)
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _time(cell: bytes, scale: float | None, path: Path, line: int) -> float:
    if scale is not None:
        return _number(cell, path, line) * scale
    text = cell.decode("utf-8", "replace").strip()
    if _is_number(text):
        raise PlannerError(
            "KW507", str(path), text, "ISO 8601 times as before", because="the file mixes units", line=line
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PlannerError("KW505", str(path), repr(text[:40]), "an ISO 8601 time", line=line) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def load(
    path: Path,
    *,
    time_unit: str | None = None,
    function: str | None = None,
    limit: float = MAX_REQUESTS,
    progress: Progress | None = None,
) -> Source:
    """A trace by its path; its shape is told from its header.

    time_unit (s, ms, us, ns) is for files without a header or with a plain `time` column of numbers. function
    chooses lines of a per-function trace by the start of their hash; without it the lines are summed.

    Raises:
        PlannerError: KW503 unreadable, KW504 empty, KW505 bad number, KW506 unsorted, KW507 units, KW508
            columns, KW509 too large, KW516 Parquet without pyarrow.
    """
    if time_unit is not None and time_unit not in UNITS:
        raise PlannerError("KW500", "--time-unit", repr(time_unit), ", ".join(UNITS))
    try:
        if path.is_dir():
            raise PlannerError("KW503", str(path), "a folder", "a CSV or Parquet file")
        with path.open("rb") as f:
            magic = f.read(4)
            if magic == b"PAR1":
                from keepwarm_planner.traffic.parquet import load_parquet

                return load_parquet(path, time_unit, limit, progress)
            f.seek(0)
            first = f.readline(MAX_LINE)
    except OSError as e:
        raise PlannerError("KW503", str(path), e.strerror or str(e), "a readable file") from e
    if not first.strip():
        raise PlannerError("KW504", str(path), "an empty file", "at least one line with a time")
    if len(first) >= MAX_LINE:
        raise PlannerError("KW509", str(path), f"a line of over {MAX_LINE} bytes", "lines of a trace", line=1)
    try:
        header = [c.strip().strip('"').lower() for c in first.decode("utf-8-sig").split(",")]
    except UnicodeDecodeError as e:
        raise PlannerError(
            "KW508", str(path), "bytes that are not UTF-8", "CSV text or Parquet", line=1
        ) from e
    if {"minute", "count"} <= set(header):
        return _read_counts(path, header, limit)
    if header.count("1") == 1 and "2" in header:
        return _read_minutes(path, header, function, limit)
    return ArrivalFile(path, columns_of(header, path, time_unit), limit, progress)


def columns_of(header: Sequence[str], path: Path, time_unit: str | None) -> _Columns:
    """Which columns a header names. Raises KW507 or KW508."""
    durations = {f"duration_{u}": s for u, s in UNITS.items()}
    duration = next((n for n in header if n in durations), None)
    times = [n for n in header if n.startswith("time_") and n[5:] in UNITS]
    for kind in (times, [n for n in header if n in durations]):
        if len(kind) > 1:
            raise PlannerError(
                "KW507", str(path), f"columns {', '.join(kind)}", f"one {kind[0].rpartition('_')[0]}", line=1
            )
    named = times[0] if times else None
    if named is not None and time_unit is not None and named[5:] != time_unit:
        raise PlannerError(
            "KW507",
            str(path),
            f"column {named} and --time-unit {time_unit}",
            "one unit",
            fix="leave --time-unit out",
            line=1,
        )
    position = header.index(duration) if duration else None
    scale_of_duration = durations[duration] if duration else 1.0
    if named is not None:
        return _Columns(
            header.index(named), UNITS[named[5:]], position, scale_of_duration, len(header), has_header=True
        )
    plain = next((n for n in header if n in ("time", "timestamp", "arrival")), None)
    if plain is not None:
        scale = UNITS[time_unit] if time_unit else None
        return _Columns(header.index(plain), scale, position, scale_of_duration, len(header), has_header=True)
    if _is_number(header[0]):
        if time_unit is None:
            raise PlannerError(
                "KW507",
                str(path),
                "times without a unit",
                "a header time_s, time_ms, time_us or time_ns",
                fix="--time-unit s",
                line=1,
            )
        return _Columns(0, UNITS[time_unit], None, 1.0, len(header), has_header=False)
    raise PlannerError(
        "KW508",
        str(path),
        f"columns {', '.join(header[:6])}",
        "time_s|time_ms|time_us|time_ns|time, or minute and count, or 1..1440",
        line=1,
    )


def _count(cell: str, path: Path, line: int) -> int:
    value = _number(cell, path, line)
    if value != int(value):
        raise PlannerError("KW505", str(path), cell.strip(), "a whole number of requests", line=line)
    return int(value)


def _checked_counts(path: Path, name: str, counts: Sequence[int], limit: float) -> Counts:
    total = sum(counts)
    if total == 0:
        raise PlannerError("KW504", str(path), "no requests", "at least one")
    if total > limit:
        raise PlannerError(
            "KW509", str(path), f"{total:.3g} requests", f"at most {limit:.3g}", fix="raise --max-requests"
        )
    return Counts(name, counts)


def _read_counts(path: Path, header: Sequence[str], limit: float) -> Counts:
    minute_at, count_at = header.index("minute"), header.index("count")
    counts = array("q")
    first: int | None = None
    with path.open(encoding="utf-8-sig", newline="") as f:
        rows = csv.reader(f)
        next(rows)
        for cells in rows:
            if not cells:
                continue
            line = rows.line_num
            if len(cells) != len(header):
                raise PlannerError("KW508", str(path), f"{len(cells)} columns", str(len(header)), line=line)
            minute = _count(cells[minute_at], path, line)
            if first is None:
                first = minute
            index = minute - first
            if index < len(counts):
                raise PlannerError("KW506", str(path), f"minute {minute}", "minutes that rise", line=line)
            if index > len(counts) + 60 * 24 * 366:
                raise PlannerError(
                    "KW507", str(path), f"minute {minute}", "minutes, without a gap of a year", line=line
                )
            counts.extend([0] * (index - len(counts)))
            counts.append(_count(cells[count_at], path, line))
    return _checked_counts(path, path.name, counts, limit)


def _read_minutes(path: Path, header: Sequence[str], function: str | None, limit: float) -> Counts:
    first = header.index("1")
    minutes = len(header) - first
    if [*header[first:]] != [str(i + 1) for i in range(minutes)]:
        raise PlannerError("KW508", str(path), "minute columns with gaps", f"columns 1 to {minutes}", line=1)
    total = [0] * minutes
    found = 0
    with path.open(encoding="utf-8-sig", newline="") as f:
        rows = csv.reader(f)
        next(rows)
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(header):
                raise PlannerError(
                    "KW508", str(path), f"{len(cells)} columns", str(len(header)), line=rows.line_num
                )
            if function is not None and not any(c.startswith(function) for c in cells[:first]):
                continue
            found += 1
            for i, cell in enumerate(cells[first:]):
                if cell != "0":
                    total[i] += _count(cell, path, rows.line_num)
    if function is not None and not found:
        raise PlannerError(
            "KW504", str(path), f"no line of function {function!r}", "the start of a hash in the file"
        )
    name = path.name if function is None else f"{path.name} {function[:8]}"
    return _checked_counts(path, name, total, limit)
