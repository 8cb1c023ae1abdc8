"""Traces and generators: what is read, and every way in which a file can be wrong.

Proves: arrivals and per-minute counts in CSV and Parquet are read as written, each kind of bad input gets its code and
its line, memory stays flat, generators have the rate they claim and obey their seed. Does not prove speed.
"""

import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import PYTHON, Kernel, choose
from keepwarm_planner.traffic import generators, traces
from keepwarm_planner.traffic.source import Source
from keepwarm_planner.traffic.traces import ArrivalFile, Counts


def _times(source: Source, seed: str = "1", kernel: Kernel = PYTHON) -> list[float]:
    return [t for times, _ in source.chunks(kernel, seed) for t in times]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def one(text: str, name: str = "trace.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time_s\n0\n1.5\n1.5\n9\n", [0.0, 1.5, 1.5, 9.0]),
        ("time_ms\r\n0\r\n1500\r\n", [0.0, 1.5]),
        ("\ufefftime_us\n1000000", [1.0]),
        ("id,time_s\na,0.25\nb,0.5\n", [0.25, 0.5]),
        ("time_s\n1\n\n2\n", [1.0, 2.0]),
        ("time\n2026-01-02T00:00:10+00:00\n2026-01-02T06:00:00Z\n", [10.0, 21_600.0]),
        ("time_s\n1767312010\n1767312011.5\n", [10.0, 11.5]),
    ],
)
def test_given_arrivals_when_read_then_seconds_from_the_start(
    write: Callable[[str], Path], text: str, expected: list[float]
) -> None:
    assert _times(traces.load(write(text))) == expected


def test_given_durations_when_read_then_services_come_along(write: Callable[[str], Path]) -> None:
    source = traces.load(write("time_s,duration_ms\n0,250\n2,1000\n"))
    assert source.has_services
    assert [(list(t), list(s or [])) for t, s in source.chunks(PYTHON, "1")] == [([0.0, 2.0], [0.25, 1.0])]


BAD = [
    ("", "KW504", None),
    ("time_s\n", "KW504", None),
    ("time_s\n1\n0.5\n", "KW506", 3),
    ("time_s\n1\n2\n-3\n", "KW505", 4),
    ("time_s\n1\nnan\n", "KW505", 3),
    ("time_s\ninf\n", "KW505", 2),
    ("time_s\n1\nabc\n", "KW505", 3),
    ("time_s\n1\n2_0\n", "KW505", 3),
    ("time_s\n1\n2 3\n", "KW505", 3),
    ("time_s\n1\n200ms\n", "KW507", 3),
    ("time_s\n1700000000\n1700000001000\n", "KW507", 3),
    ("time_s,time_ms\n1,1000\n", "KW507", 1),
    ("time_s,duration_s,duration_ms\n1,1,1000\n", "KW507", 1),
    ("1\n2\n", "KW507", 1),
    ("time\n2026-01-01T00:00:00Z\n5\n", "KW507", 3),
    ("time\nyesterday\n", "KW505", 2),
    ("when,what\n1,2\n", "KW508", 1),
    ("time_s,duration_s\n1,1\n2\n", "KW508", 3),
    ("time_s,duration_s\n1,-1\n", "KW505", 2),
    ("minute,count\n0,5\n0,5\n", "KW506", 3),
    ("minute,count\n0,1.5\n", "KW505", 2),
    ("minute,count\n0,-1\n", "KW505", 2),
    ("minute,count\n0,0\n", "KW504", None),
    ("minute,count\n0,1\n99999999,1\n", "KW507", 3),
    ("HashFunction,1,2,4\nx,1,1,1\n", "KW508", 1),
    ("HashFunction,1,2\nx,1\n", "KW508", 2),
]


@pytest.mark.parametrize(("text", "code", "line"), BAD, ids=[f"{c}-{i}" for i, (_, c, _) in enumerate(BAD)])
def test_given_bad_trace_when_read_then_code_and_line(
    write: Callable[[str], Path], text: str, code: str, line: int | None
) -> None:
    with pytest.raises(PlannerError) as caught:
        _times(traces.load(write(text)))
    assert caught.value.code == code
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{code} ")
    assert "\n" not in str(caught.value)


def test_given_a_unit_that_the_header_contradicts_when_loaded_then_kw507(
    write: Callable[[str], Path],
) -> None:
    path = write("time_s\n1\n")
    with pytest.raises(PlannerError) as caught:
        traces.load(path, time_unit="ms")
    assert str(caught.value) == (
        f"KW507 {path} line 1: got column time_s and --time-unit ms; allowed one unit; fix: leave --time-unit out"
    )
    assert _times(traces.load(path, time_unit="s")) == [1.0]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "pyarrow",
            "KW516 a Parquet trace: got no pyarrow; allowed pyarrow 20 or later; fix: pip install"
            " keepwarm-planner[parquet]",
        ),
        (
            "matplotlib",
            "KW516 plots: got no matplotlib; allowed matplotlib 3.10 or later; fix: pip install keepwarm-planner[plot]",
        ),
    ],
)
def test_given_an_optional_package_is_missing_when_needed_then_kw516(
    module: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from keepwarm_planner.answers import plots

    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(PlannerError) as caught:
        traces.load(path) if module == "pyarrow" else plots.pyplot()
    assert str(caught.value) == message


def test_given_times_beyond_the_first_block_when_unsorted_then_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as f:
        f.write("time_s\n")
        f.writelines(f"{i}.125\n" for i in range(300_000))
        f.write("5\n")
    with pytest.raises(PlannerError) as caught:
        _times(traces.load(path))
    assert (caught.value.code, caught.value.line) == ("KW506", 300_002)


def test_given_too_many_arrivals_when_read_then_kw509(write: Callable[[str], Path]) -> None:
    with pytest.raises(PlannerError, match="KW509"):
        _times(traces.load(write("time_s\n1\n2\n3\n"), limit=2))
    with pytest.raises(PlannerError, match="KW509"):
        traces.load(write("minute,count\n0,99999999999\n"))


def test_given_a_line_without_end_when_read_then_kw509_and_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    path.write_bytes(b"time_s\n" + b"1" * (3 << 20))
    with pytest.raises(PlannerError, match="KW509"):
        _times(traces.load(path))


def test_given_missing_file_or_folder_when_loaded_then_kw503(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(PlannerError, match="KW503"):
            traces.load(path)
    with pytest.raises(PlannerError, match="KW500"):
        traces.load(tmp_path, time_unit="parsecs")


def test_given_binary_when_loaded_then_kw508(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(PlannerError, match="KW508"):
        traces.load(path)


def test_given_a_long_trace_when_streamed_then_memory_is_flat(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = tmp_path / f"{lines}.csv"
        with path.open("w") as f:
            f.write("time_s\n")
            f.writelines(f"{i}\n" for i in range(lines))
        tracemalloc.start()
        count = sum(len(times) for times, _ in traces.load(path).chunks(PYTHON, "1"))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == lines
        return most

    assert peak(480_000) < 1.3 * peak(160_000)


def test_given_azure_minutes_when_loaded_then_lines_are_summed_or_one_is_chosen(
    write: Callable[[str], Path],
) -> None:
    path = write("HashOwner,HashApp,HashFunction,Trigger,1,2,3\na,b,f1,http,5,0,1\na,b,f2,queue,1,1,0\n")
    both = traces.load(path)
    assert isinstance(both, Counts)
    assert list(both.counts) == [6, 1, 1]
    one = traces.load(path, function="f2")
    assert isinstance(one, Counts)
    assert list(one.counts) == [1, 1, 0]
    with pytest.raises(PlannerError, match="KW504"):
        traces.load(path, function="f9")


def test_given_counts_when_spread_then_each_minute_has_its_own(write: Callable[[str], Path]) -> None:
    source = traces.load(write("minute,count\n10,3\n12,400000\n"))
    times = _times(source)
    assert times == sorted(times)
    assert [sum(60 * m <= t < 60 * m + 60 for t in times) for m in range(3)] == [3, 0, 400_000]
    assert _times(source, "2")[:3] != times[:3]
    assert _times(source)[:9] == times[:9]


@pytest.mark.parametrize("shape", ["arrivals", "durations", "timestamp", "counts"])
def test_given_parquet_when_loaded_then_as_its_csv(tmp_path: Path, shape: str) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    if shape == "arrivals":
        parquet.write_table(pa.table({"time_ms": [0, 1500, 2500]}), path)
        assert _times(traces.load(path)) == [0.0, 1.5, 2.5]
    elif shape == "durations":
        parquet.write_table(pa.table({"duration_s": [0.5, 0.25], "time_s": [1.0, 2.0]}), path)
        chunks = [(list(t), list(s or [])) for t, s in traces.load(path).chunks(PYTHON, "1")]
        assert chunks == [([1.0, 2.0], [0.5, 0.25])]
    elif shape == "timestamp":
        stamps = pa.array([1_767_312_010_000_000, 1_767_312_011_500_000], pa.timestamp("us", "UTC"))
        parquet.write_table(pa.table({"time": stamps}), path)
        assert _times(traces.load(path)) == [10.0, 11.5]
    else:
        parquet.write_table(pa.table({"minute": [5, 7], "count": [2, 1]}), path)
        source = traces.load(path)
        assert isinstance(source, Counts)
        assert list(source.counts) == [2, 0, 1]


@pytest.mark.parametrize(
    ("values", "code"),
    [([2.0, 1.0], "KW506"), ([1.0, float("nan")], "KW505"), ([1.0, None], "KW505"), ([], "KW504")],
)
def test_given_bad_parquet_when_read_then_code(tmp_path: Path, values: list[float | None], code: str) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    pytest.importorskip("pyarrow.parquet").write_table(
        pa.table({"time_s": pa.array(values, pa.float64())}), path
    )
    with pytest.raises(PlannerError, match=code):
        _times(traces.load(path))


def test_given_a_torn_parquet_file_when_loaded_then_kw508(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(PlannerError, match="KW508"):
        traces.load(path)


GENERATORS = [
    ("poisson:rate=5,hours=10", 5.0),
    ("diurnal:mean=4,swing=0.8,hours=24", 4.0),
    ("spike:base=1,peak=50,at_s=3600,width_s=600,hours=4", (4 * 3600 - 600 + 50 * 600) / (4 * 3600)),
    ("mmpp:low=1,high=20,low_s=600,high_s=60,hours=60", (600 + 1200) / 660),
]


@pytest.mark.parametrize(("text", "rate"), GENERATORS)
def test_given_generator_when_drawn_then_its_rate_seed_and_kernel_independence(
    text: str, rate: float
) -> None:
    source = generators.generator(text)
    times = _times(source)
    assert times == sorted(times)
    assert times[0] >= 0.0
    length = source.horizon_s()
    assert length is not None
    assert times[-1] < length
    # MMPP's own variance is far above Poisson's
    assert len(times) / length == pytest.approx(rate, rel=0.15 if "mmpp" in text else 0.03)
    assert source.expected() == pytest.approx(rate * length, rel=1e-9)
    assert _times(source) == times
    assert _times(source, "2") != times
    assert _times(source, kernel=choose(0)) == times


def test_given_diurnal_when_drawn_then_the_peak_is_where_it_should_be() -> None:
    times = _times(generators.generator("diurnal:mean=3,swing=0.9,peak_hour=9"))
    hours = [sum(h * 3600 <= t < (h + 1) * 3600 for t in times) for h in range(24)]
    assert abs(hours.index(max(hours)) - 9) <= 1
    assert min(hours) < max(hours) / 5


@pytest.mark.parametrize(
    "text",
    [
        "poisson",
        "poisson:rate=x",
        "poisson:rate=-1",
        "poisson:rate=nan",
        "poisson:rate=1,size=2",
        "poisson:rate=1,hours=0",
        "weibull:rate=1",
        "diurnal:mean=1,swing=2",
        "spike:base=1,peak=2,at_s=99999999,width_s=1",
        "mmpp:low=1,high=2,low_s=0,high_s=1",
    ],
)
def test_given_bad_generator_when_read_then_kw517(text: str) -> None:
    with pytest.raises(PlannerError, match="KW517"):
        generators.generator(text)


def test_given_arrival_file_when_asked_then_estimate_is_near(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time_s\n" + "".join(f"{i:08d}\n" for i in range(50_000)))
    source = traces.load(path)
    assert isinstance(source, ArrivalFile)
    assert source.expected() == pytest.approx(50_000, rel=0.01)


def test_given_progress_when_read_then_it_rises_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rng, now = random.Random(1), 0.0
    with path.open("w") as f:
        f.write("time_s\n")
        for _ in range(200_000):
            now += rng.random()
            f.write(f"{now:.6f}\n")
    seen: list[float] = []
    _times(traces.load(path, progress=seen.append))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == 1.0
