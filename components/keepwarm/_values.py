"""Values that may be known now or only when the deployment resolves them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import pulumi

PLAIN = (str, int, float, bool, type(None))

T = TypeVar("T")


def known(value: object) -> bool:
    """Whether a value is there now (not an `Output` or an awaitable)."""
    return not isinstance(value, pulumi.Output) and not hasattr(value, "__await__")


def derive(compute: Callable[..., T], *inputs: pulumi.Input[Any]) -> pulumi.Input[T]:
    """Compute now when every input is known, else when they resolve."""
    if all(known(value) for value in inputs):
        return compute(*inputs)
    return later(compute, *inputs)


def later(compute: Callable[..., T], *inputs: pulumi.Input[Any]) -> pulumi.Output[T]:
    """Compute when every input resolves, waiting only for what is no plain value: waiting is what costs."""
    awaited = {id(value): value for value in inputs if not isinstance(value, PLAIN)}
    return resolve(awaited, lambda got: compute(*(got.get(id(value), value) for value in inputs)))


def resolve(
    awaited: Mapping[int, pulumi.Input[Any]], use: Callable[[Mapping[int, Any]], T]
) -> pulumi.Output[T]:
    """`use` of the values when all are there, by the `id` of what they were awaited as: each is waited for once.

    One plain value is had for half of what `Output.all` costs.
    """
    inputs = list(awaited.values())
    if len(inputs) != 1 or not isinstance(inputs[0], pulumi.Output):
        return pulumi.Output.all(*inputs).apply(lambda got: use(dict(zip(awaited, got, strict=True))))
    (key,) = awaited

    def plainly(value: Any) -> Any:
        if isinstance(value, PLAIN):
            return use({key: value})
        # It may hold values that are still to come, which only `Output.from_input` looks for.
        return pulumi.Output.from_input(value).apply(lambda whole: use({key: whole}))

    return inputs[0].apply(plainly)


def concat(*parts: pulumi.Input[str]) -> pulumi.Input[str]:
    """The parts as one text, now when all are known.

    The same text around the same `Output` is made once: five functions that may read one bucket wait once for it.
    """
    awaited = [part for part in parts if not isinstance(part, str)]
    if len(awaited) != 1 or not isinstance(awaited[0], pulumi.Output):
        return derive(lambda *known_parts: "".join(known_parts), *parts)
    made: dict[tuple[str | None, ...], pulumi.Output[str]]
    # Kept on the `Output` itself, so that both end together; it would look an attribute up in its future value.
    made = vars(awaited[0]).setdefault("_keepwarm_joined", {})
    around = tuple(part if isinstance(part, str) else None for part in parts)
    if around not in made:
        made[around] = later(lambda *known_parts: "".join(known_parts), *parts)
    return made[around]


def plain(value: pulumi.Input[T]) -> T | None:
    """The value when it is known now, else None."""
    return cast(T, value) if known(value) else None
