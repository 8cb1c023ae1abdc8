"""From the name of an operation to the method that answers it: the one way in which services find it.

A service writes one method per operation, named after it: `CreateQueue` is `_do_create_queue(body)`. Adding an
operation is adding such a method. Lambda and S3, whose operations are told apart by path, find theirs by their routes.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

_WORD = re.compile(r"(?<!^)(?=[A-Z])")

Operation = Callable[..., dict[str, Any]]
"""Takes the parameters (SQS: and the request), gives the answer; raises AwsError."""


@functools.cache
def snake(name: str) -> str:
    """`CreateQueue` -> `create_queue`."""
    return _WORD.sub("_", name).lower()


def operation_named(service: object, name: str) -> Operation | None:
    """The method of a service that answers an operation; None when it has none.

    Args:
        service: Has a `_do_...` method per operation.
        name: As the API writes it.
    """
    return getattr(service, f"_do_{snake(name)}", None) if name.isalnum() else None
