"""Parquet traces, read row group by row group. Needs pyarrow (`keepwarm-planner[parquet]`)."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel
from keepwarm_planner.traffic.source import CHUNK, Chunk, Progress, Source
from keepwarm_planner.traffic.traces import UNITS, Counts, _checked_counts, _Checker, _Columns, columns_of


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A row per request. Line numbers of its errors count rows from 1."""

    path: Path
    columns: _Columns
    names: tuple[str, str | None]
    scale: float
    rows: int
    limit: float
    progress: Progress | None
    fixed: bool = True

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def has_services(self) -> bool:
        """Whether rows carry durations."""
        return self.names[1] is not None

    def expected(self) -> float:
        """As the file's footer says."""
        return float(self.rows)

    def horizon_s(self) -> float | None:
        """Known at the end only."""
        return None

    def chunks(self, kernel: Kernel, seed: str) -> Iterator[Chunk]:
        """Neither kernel nor seed matters."""
        checker = _Checker(self.path, self.limit)
        wanted = [n for n in self.names if n is not None]
        parquet = _pyarrow().parquet
        with parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=CHUNK, columns=wanted):
                times = self._doubles(batch.column(0), self.scale, checker.line)
                checked = checker.accept(times)
                if checked is None:
                    for offset, t in enumerate(times):
                        checker.one(t, checker.line + offset)
                    checker.line += len(times)
                    checked = array("d", [t - checker.origin for t in times])
                times = checked
                services = None
                if len(wanted) > 1:
                    services = self._doubles(batch.column(1), self.columns.duration_scale, checker.line)
                    if len(services) and min(services) < 0.0:
                        raise PlannerError("KW505", str(self.path), min(services), "durations of 0 or more")
                yield times, services
                if self.progress is not None:
                    self.progress(min(checker.seen / max(self.rows, 1), 1.0))
        checker.finish()

    def _doubles(self, column: Any, scale: float, line: int) -> "array[float]":
        pa = _pyarrow()
        if column.null_count:
            raise PlannerError("KW505", str(self.path), "a null", "a number in every row", line=line)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us")).cast(pa.int64())
            scale = 1e-6
        values = column.cast(pa.float64())
        out = array("d")
        out.frombytes(values.buffers()[1][values.offset * 8 : (values.offset + len(values)) * 8])
        return out if scale == 1.0 else array("d", [x * scale for x in out])


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as e:
        raise PlannerError(
            "KW516",
            "a Parquet trace",
            "no pyarrow",
            "pyarrow 20 or later",
            fix="pip install keepwarm-planner[parquet]",
        ) from e
    return pyarrow


def load_parquet(path: Path, time_unit: str | None, limit: float, progress: Progress | None) -> Source:
    """A Parquet trace: arrivals with the columns of a CSV, or `minute` and `count`."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            header = [n.lower() for n in schema.names]
            if {"minute", "count"} <= set(header):
                table = file.read()
                return _counts(path, table.to_pydict(), header, limit)
    except pa.ArrowInvalid as e:
        raise PlannerError("KW508", str(path), str(e).splitlines()[0], "a Parquet file") from e
    if rows == 0:
        raise PlannerError("KW504", str(path), "no rows", "at least one")
    if rows > limit:
        raise PlannerError(
            "KW509", str(path), f"{rows} rows", f"at most {limit:.3g}", fix="raise --max-requests"
        )
    columns = columns_of(header, path, time_unit)
    kind = schema.field(columns.time).type
    if columns.scale is None and not pa.types.is_timestamp(kind):
        raise PlannerError(
            "KW507",
            str(path),
            f"a time column of {kind}",
            "a timestamp",
            fix=f"--time-unit {'|'.join(UNITS)}",
        )
    names = (
        schema.names[columns.time],
        None if columns.duration is None else schema.names[columns.duration],
    )
    return ParquetFile(path, columns, names, columns.scale or 1.0, rows, limit, progress)


def _counts(path: Path, data: dict[str, list[Any]], header: list[str], limit: float) -> Counts:
    named = {name.lower(): values for name, values in data.items()}
    counts = array("q")
    first: int | None = None
    for row, (minute, count) in enumerate(zip(named["minute"], named["count"], strict=True), 1):
        if minute is None or count is None or count < 0 or count != int(count):
            raise PlannerError("KW505", str(path), f"{minute}, {count}", "whole numbers, 0 or more", line=row)
        first = int(minute) if first is None else first
        index = int(minute) - first
        if index < len(counts):
            raise PlannerError("KW506", str(path), f"minute {minute}", "minutes that rise", line=row)
        counts.extend([0] * (index - len(counts)))
        counts.append(int(count))
    return _checked_counts(path, path.name, counts, limit)
