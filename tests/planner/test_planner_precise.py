"""The tail kernel: rare cold starts without simulating what cannot matter.

Proves: C and Python agree bit for bit, the passage law is the birth-and-death chain's, and figures agree with plain
simulation within the combined interval on several configurations, a cap and a pool among them. Does not prove the bound
on its assumption for every configuration: a run counts violations and falls back.
"""

from math import exp, fsum, sqrt
from random import Random

import pytest

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import PYTHON, Kernel, choose
from keepwarm_planner.kernel.build import find_compiler
from keepwarm_planner.kernel.tail import run, spectrum
from keepwarm_planner.model.estimate import Estimate, relative_half_width
from keepwarm_planner.model.plain import PlainScenario, simulate_plain
from keepwarm_planner.model.precise import choose_group, passage, simulate_to


@pytest.fixture(scope="module")
def c() -> Kernel:
    if find_compiler() is None:
        pytest.skip("no C compiler on this machine")
    return choose(0, "c")


def test_given_a_matrix_when_solved_then_eigenvalues_and_both_kernels_agree(c: Kernel) -> None:
    diagonal, off = [2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0]
    values, squares = spectrum(diagonal, off)
    golden = sorted(2.0 - 2.0 * x for x in (0.80901699437, 0.30901699437, -0.30901699437, -0.80901699437))
    assert sorted(values) == pytest.approx(golden, abs=1e-9)
    assert fsum(squares) == pytest.approx(1.0)
    assert c.native is not None
    assert c.native.spectrum(diagonal, off) == (values, squares)


def test_given_a_group_of_two_when_passed_then_the_law_is_known() -> None:
    # from one busy: rate 1 up to two, rate 1 down to none, and from none rate 1 up again
    law = passage(1.0, 1.0, 2, PYTHON)
    mean = fsum(p / r for p, r in zip(_weights(law.accept, law.other), law.phase_rate, strict=True))
    assert mean == pytest.approx(2.0)  # m1 = 1/2 + m0/2, m0 = 1 + m1: m1 = 2
    assert law.slowest == pytest.approx((3 - sqrt(5)) / 2)
    assert law.survival(1.0) == pytest.approx(exp(-law.slowest))


def _weights(accept: tuple[float, ...], other: tuple[int, ...]) -> list[float]:
    n = len(accept)
    out = [a / n for a in accept]
    for i, j in enumerate(other):
        out[j] += (1.0 - accept[i]) / n
    return out


def test_given_a_scenario_when_run_in_c_and_python_then_rows_are_equal(c: Kernel) -> None:
    law = passage(60.0, 1.0, 70, PYTHON)
    assert c.native is not None
    arguments = (60.0, 1.0, 30.0, law.group, 12, law.accept, law.other, law.phase_rate)
    ends = [50.0, 900.0, 4000.0]
    ours = run(*arguments, Random(5), ends)
    assert c.native.tail(*arguments, Random(5), ends) == ours
    assert ours[-1][1] > 10
    assert ours[-1][2] > 0


def _close(a: Estimate, b: Estimate) -> bool:
    half = sqrt((a.high - a.low) ** 2 + (b.high - b.low) ** 2) / 2.0
    return abs(a.mean - b.mean) <= 1.5 * half


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (60.0, {"idle_timeout_s": 120.0}),
        (40.0, {"idle_timeout_s": 40.0, "max_concurrency": 55}),
        (40.0, {"idle_timeout_s": 60.0, "environments": 45, "max_concurrency": 60}),
        pytest.param(150.0, {"idle_timeout_s": 600.0}, marks=pytest.mark.slow),
    ],
)
def test_given_a_scenario_when_run_precisely_then_plain_simulation_agrees(
    rate: float, options: dict[str, float]
) -> None:
    scenario = PlainScenario(rate, 1.0, horizon_s=4000.0, replications=16, seed=2, **options)  # type: ignore[arg-type]
    precise = simulate_to(scenario, 0.02)
    plain = simulate_plain(scenario)
    assert precise.kernel.endswith("tail")
    assert relative_half_width(precise.figures.cold_fraction) <= 0.02
    for name in ("cold_fraction", "rejected_fraction", "instances", "busy", "provisioned_fraction"):
        assert _close(getattr(precise.figures, name), getattr(plain.figures, name)), name


def test_given_light_load_when_asked_for_precision_then_plain_simulation_gives_it() -> None:
    report = simulate_to(PlainScenario(0.5, 2.0, 30.0, horizon_s=20_000.0), 0.05)
    assert not report.kernel.endswith("tail")
    assert relative_half_width(report.figures.cold_fraction) <= 0.05


def test_given_no_group_whose_passages_surely_end_when_chosen_then_none() -> None:
    assert choose_group(PlainScenario(100.0, 1.0, 2.0, horizon_s=100.0), PYTHON) is None
    for bad in (0.0, 0.9, float("nan")):
        with pytest.raises(PlannerError, match="KW500"):
            simulate_to(PlainScenario(1.0, 1.0, horizon_s=100.0), bad)
