"""Results that are made once: each is kept in a folder whose name is the digest of what it was made from.

A result is made in a temporary folder and renamed into place, so that a killed build leaves nothing that looks
finished; a lock per result makes builds that run at once share one piece of work.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepwarm_build.errors import BundleError

FORMAT = 6
"""Raised when the builder makes something else of the same input, so that kept results are not taken for new ones."""


def default_cache() -> Path:
    """Where results are kept unless the caller says where: `$XDG_CACHE_HOME/keepwarm/build`, or below `~/.cache`."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    base = Path(named) if Path(named).is_absolute() else Path(os.path.expanduser("~"), ".cache")  # noqa: PTH111
    return base / "keepwarm" / "build"


def digest(*parts: Any) -> str:
    """Digest of the inputs: any change of a byte, a name or the builder gives another."""
    seen = hashlib.sha256(f"{FORMAT}".encode())
    for part in parts:
        # Files as the bytes they are: as text, those of every function would be escaped one by one.
        if isinstance(part, Mapping):
            pieces = [repr([(name, file.executable) for name, file in part.items()]).encode()]
            pieces += [file.body for file in part.values()]
        else:
            pieces = [(part if isinstance(part, str) else repr(part)).encode()]
        for piece in pieces:
            seen.update(b"%d:" % len(piece) + piece)
    return seen.hexdigest()


def kept(place: Path, make: Callable[[Path], None]) -> Path:
    """The folder `place`; made by `make` in a temporary folder and renamed, if it is not there yet.

    Raises:
        BundleError: KW196, the folder can't be written; and whatever `make` raises, which leaves nothing behind.
    """
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            if place.is_dir():
                return place
            _sweep(place)
            made = place.with_name(f".{place.name}.{os.getpid()}")
            made.mkdir()
            try:
                make(made)
                made.rename(place)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
    except OSError as fault:
        raise BundleError(
            "KW196",
            str(fault.filename or place),
            fault.strerror or str(fault),
            allowed="a folder that can be written, with room for 400 MB",
            because="bundles are kept there",
            fix="free space, or name another folder",
        ) from fault
    return place


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One builder at a time for one result. The system releases the lock of a builder that dies."""
    lock = place.with_name(f".{place.name}.lock")
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sweep(place: Path) -> None:
    """Remove what a killed builder of the same result left; the lock proves that no other builder is running."""
    for left in place.parent.glob(f".{place.name}.*"):
        if left.is_dir():
            shutil.rmtree(left)
