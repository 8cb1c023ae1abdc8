"""Named points at every I/O boundary, where a test may kill the process.

In production `point` is one global read and one comparison. A test sets `hook` (or starts the process with
KEEPWARM_FAULT_PLUGIN naming a module that does) to see, count or die at each point.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Called with the point's name; None, the default, does nothing."""


def point(name: str) -> None:
    """Say that the code is about to cross the boundary called `name`."""
    if hook is not None:
        hook(name)
