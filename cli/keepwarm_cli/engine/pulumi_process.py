"""The Pulumi CLI of one command: where it is, where and with what it runs, and where its words go."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.engine.terminal_signals import TerminalSignals


def say_on_stderr(note: str) -> None:
    """Tell the user something beside the CLI's own output."""
    print(f"keepwarm: {note}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class PulumiCli:
    """The CLI, ready to be called."""

    binary: Path
    folder: Folder
    project: str
    """Name of the Pulumi project."""
    environment: Mapping[str, str]
    say: Callable[[str], None] = field(default=say_on_stderr)
    """Takes notes for the user, one line each."""
    output: Any = None
    """File that takes the CLI's output; None: this process's own."""

    def attached(self, environment: Mapping[str, str]) -> Self:
        """Return the same CLI with more environment: what attaches it to a provider and a cloud."""
        return replace(self, environment={**self.environment, **environment})

    def call(self, arguments: Sequence[str], *, output: Any = None) -> int:
        """Run it in the working copy and return its status; Ctrl-C is its own business."""
        target = self.output if output is None else output
        with TerminalSignals() as signals:
            process = subprocess.Popen(
                [str(self.binary), *arguments],
                cwd=self.folder.work,
                env={**self.environment, "PWD": str(self.folder.work)},
                stdout=target,
                stderr=subprocess.STDOUT if target is not None else None,
            )
            signals.hand_to(process)
            (self.folder.root / "cli.pid").write_text(str(process.pid))
            return process.wait()

    def ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run it for its answer, which nobody sees."""
        return subprocess.run(
            [str(self.binary), *arguments, "--non-interactive"],
            cwd=self.folder.work,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
        )
