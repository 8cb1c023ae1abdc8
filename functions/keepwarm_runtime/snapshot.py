"""What must be new after a snapshot was restored: randomness, connections, credentials, and trust in files.

Lambda SnapStart restores one memory image many times. Every copy then has the same random state, sockets to servers
that forgot them, credentials of another day, and a model that was verified in another life. The hooks here run
before the first request of each copy. They are registered with AWS's `snapshot_restore_py` where that exists
(https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html).
"""

from __future__ import annotations

import importlib
import random
import sys
import time

from keepwarm_runtime.phases import LIFECYCLE, Lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_hooks: list[tuple[str, Callable[[], object]]] = []
restores = 0
"""How many times this process was restored."""


def on_restore(name: str, hook: Callable[[], object]) -> None:
    """Run `hook` after each restore, in the order of registration. The same name replaces its hook."""
    for position, (known, _) in enumerate(_hooks):
        if known == name:
            _hooks[position] = (name, hook)
            return
    _hooks.append((name, hook))


def reseed() -> None:
    """Give `random`, and NumPy and PyTorch if they are loaded, new states from the operating system."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(random.SystemRandom().getrandbits(32))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(random.SystemRandom().getrandbits(63))


def restored(lifecycle: Lifecycle = LIFECYCLE) -> dict[str, float]:
    """Run every hook and return how many milliseconds each took. A failing hook fails the restore: Lambda then starts
    the environment anew, which is what a copy that can't be trusted deserves.
    """
    global restores
    restores += 1
    taken: dict[str, float] = {}
    for name, hook in [("reseed", reseed), *_hooks]:
        started_s = time.monotonic()
        with lifecycle.init.measure("warmup"):
            hook()
        taken[name] = round((time.monotonic() - started_s) * 1000, 3)
    lifecycle.ready_at_s = time.monotonic()
    return taken


def register() -> bool:
    """Hand `restored` to AWS's runtime; False where there is none to hand it to."""
    try:
        runtime = importlib.import_module("snapshot_restore_py")
    except ImportError:
        return False
    runtime.register_after_restore(restored)
    return True
