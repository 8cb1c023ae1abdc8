"""When Python's garbage collector looks at what a start has made.

A full collection walks every container there is, with all threads stopped. What moto, botocore and pulumi import lives
as long as the process; walking it again and again finds nothing, seven times while a cloud starts (0.44 s in all) and
at least once in every deployment (0.12 s and more). `gc.freeze` is CPython's own answer to that.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_pauses = 0
_asides = 0
_was_enabled = False
_was_frozen = False


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing inside the block: for imports, which make much and drop next to nothing."""
    global _pauses, _was_enabled
    with _LOCK:
        if _pauses == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _LOCK:
            _pauses -= 1
            if _pauses == 0 and _was_enabled:
                gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Look only at what is made inside the block; what was there before is looked at again after it.

    Who froze objects for the life of the process keeps them frozen, and then those of the block's start with them.
    """
    global _asides, _was_frozen
    with _LOCK:
        if _asides == 0:
            _was_frozen = gc.get_freeze_count() > 0
            gc.freeze()
        _asides += 1
    try:
        yield
    finally:
        with _LOCK:
            _asides -= 1
            if _asides == 0 and not _was_frozen:
                gc.unfreeze()
