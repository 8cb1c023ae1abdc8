"""Keeps Python's garbage collector from walking again and again what a start has made.

A full collection walks every container there is, with all threads stopped. What moto, botocore and pulumi import lives
as long as the process; walking it again and again finds nothing, seven times while a cloud starts (0.44 s in all) and
at least once in every deployment (0.12 s and more). `gc.freeze` is CPython's own answer to that.
"""

import gc
from collections.abc import Callable
from typing import Final

from keepwarm_localcloud.engine.process_wide import ProcessWide


def _pause() -> Callable[[], object]:
    enabled = gc.isenabled()
    gc.disable()
    return gc.enable if enabled else lambda: None


def _set_aside() -> Callable[[], object]:
    # Thawing is all or nothing: who froze objects for the life of the process keeps them so.
    if gc.get_freeze_count() > 0:
        return lambda: None
    gc.freeze()
    return gc.unfreeze


PAUSED: Final = ProcessWide(_pause)
"""Collect nothing inside the block: for imports, which make much and drop next to nothing.

A collector that was off before stays off; one that is turned off inside is on afterwards."""

SET_ASIDE: Final = ProcessWide(_set_aside)
"""Collect only what is made inside the block; what was there before is collected again after it.

Does nothing where objects were frozen before; what is frozen inside is thawed at the end."""
