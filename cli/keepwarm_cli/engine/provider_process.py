"""The provider that serves one run of the CLI."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from keepwarm_cli.errors import CliError


class Provider:
    """The gRPC provider as a child process."""

    def __init__(self, endpoint: str, environment: Mapping[str, str], *, log: Path | None = None) -> None:
        self._log = log.open("ab") if log else None
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keepwarm_localcloud.engine.provider",
                "--endpoint",
                endpoint,
                "--with-parent",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log or None,
            env=dict(environment),
            start_new_session=True,
        )
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Port it serves on; waits until it is ready.

        Raises:
            CliError: KW670, it ended instead.
        """
        if self._port is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline().strip()
            if not line.isdigit():
                raise CliError(
                    "KW670",
                    "provider",
                    problem=f"exited with status {self.process.wait(10)} before it was ready",
                    fix=f"see {self._log.name if self._log else 'the lines above'}",
                )
            self._port = int(line)
        return self._port

    def close(self) -> bool:
        """End it; True when it was still there (nobody killed it)."""
        lived = self.process.poll() is None
        if lived:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._log is not None:
            self._log.close()
        return lived
