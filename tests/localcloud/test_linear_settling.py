"""Programs settle by the linear wait as by pulumi's own: late outputs are waited for, a failure surfaces."""

from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, resource, stack

from keepwarm_localcloud.engine.linear_settling import LINEAR_SETTLING
from keepwarm_localcloud.engine.process_wide import ProcessWide
from keepwarm_localcloud.engine.resource_monitor import WITHOUT_POSITIONS
from tests.support.deployed import own_loop


class Engine(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {}


class Thing(pulumi.CustomResource):
    value: pulumi.Output[str]

    def __init__(self, name: str, value: pulumi.Input[str]) -> None:
        super().__init__("test:index:Thing", name, {"value": value})


@pytest.fixture(params=["pulumi", "linear"])
def settling(request: pytest.FixtureRequest) -> Iterator[None]:
    own_loop()
    mocks.set_mocks(Engine())
    if request.param == "pulumi":
        yield
        return
    before = stack.wait_for_rpcs
    with LINEAR_SETTLING:
        assert stack.wait_for_rpcs is not before
        yield
    assert stack.wait_for_rpcs is before


def test_given_outputs_that_make_outputs_when_settled_then_the_last_one_was_waited_for(
    settling: None,
) -> None:
    seen: list[str] = []

    def program() -> None:
        thing = Thing("a", "x")
        for depth in range(5):
            thing = Thing(f"b{depth}", thing.value.apply(lambda v: v + "x"))
        # Registered while the wait is already under way.
        thing.value.apply(lambda v: Thing("late", v).value.apply(seen.append))

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]

    assert seen == ["xxxxxx"]


def test_given_an_apply_that_fails_when_settled_then_its_error_is_raised(settling: None) -> None:
    def program() -> None:
        Thing("a", "x").value.apply(lambda v: {}[v])

    with pytest.raises(KeyError, match="x"):
        pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("shared", "place", "name"),
    [
        (LINEAR_SETTLING, stack, "wait_for_rpcs"),
        (WITHOUT_POSITIONS, resource, "_get_stack_trace"),
    ],
)
def test_given_two_deployments_at_once_when_they_end_in_any_order_then_the_sdk_is_as_it_was(
    shared: ProcessWide, place: Any, name: str
) -> None:
    before = getattr(place, name)
    shared.__enter__()
    changed = getattr(place, name)
    assert changed is not before
    shared.__enter__()
    shared.__exit__(None, None, None)
    assert getattr(place, name) is changed
    shared.__exit__(None, None, None)
    assert getattr(place, name) is before
