"""Models that a wheel carries: taken from the version that a requirements file pins by hash."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from keepwarm_build.errors import BundleError
from keepwarm_build.platform import Platform
from keepwarm_build.wheels import install


def take(pin: str, inside: str, names: Sequence[str], folder: Path) -> None:
    """Put files of a pinned wheel into `folder`, which is made. `inside` is their folder in the wheel.

    Raises:
        BundleError: KW192 to KW195 from the wheel; KW197, it has no such file.
    """
    site = folder.with_name(f"{folder.name}.site")
    install(pin, Platform.of("host"), site)
    folder.mkdir()
    for name in names:
        file = site / inside / name
        if not file.is_file():
            raise BundleError(
                "KW197",
                f"model file {name}",
                f"no {inside}/{name} in {pin.split()[0]}",
                allowed="files that the wheel has",
                because="the model is taken from that wheel",
                fix="look into the wheel for the file's new name, or pin the version that has it",
            )
        shutil.copyfile(file, folder / name)
    shutil.rmtree(site)
