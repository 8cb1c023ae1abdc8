"""The `.keepwarm` folder of a project: the cloud's handle, the engine's state, the working copy."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keepwarm_cli.errors import CliError

LAYOUT: Final = 1
"""Layout of the `.keepwarm` folder. A newer one is refused."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The `.keepwarm` folder of a project: the cloud's handle, the engine's state, the working copy."""

    project: Path

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.project / ".keepwarm"

    @property
    def cloud_file(self) -> Path:
        """Endpoint and pid of the embedded cloud while it runs."""
        return self.root / "cloud.json"

    @property
    def backend(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "backend"

    @property
    def work(self) -> Path:
        """Where the CLI runs."""
        return self.root / "project"

    @property
    def creations(self) -> Path:
        """What the provider was about to create when it or the CLI was killed."""
        return self.root / "creations.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a command that changes something runs."""
        return self.root / "lock"

    def open(self) -> None:
        """Make or check the folder.

        Raises:
            CliError: KW668 it cannot be written, KW669 a newer version made it.
        """
        marker = self.root / "layout.json"
        try:
            for folder in (self.root, self.backend, self.work):
                folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                marker.write_text(json.dumps({"layout": LAYOUT}))
            layout = int(json.loads(marker.read_text())["layout"])
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise CliError(
                "KW668",
                f"state folder {self.root}",
                problem=f"cannot be written: {error.strerror or error}",
                fix="make it writable, or start in another copy of the project",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise CliError(
                "KW668",
                f"state folder {self.root}",
                problem="layout.json cannot be read",
                fix="`keepwarm local reset`",
            ) from error
        if layout > LAYOUT:
            raise CliError(
                "KW669",
                f"state folder {self.root}",
                got=f"layout {layout}",
                allowed=f"up to {LAYOUT}",
                because="a newer keepwarm made it",
                fix="use that version, or `keepwarm local reset`",
            )
