"""Outlive the embedded cloud by one moment: kill what it started and remove its files when it dies without a word.

Run as a script with nothing but the standard library. Standard input is a pipe from the cloud; lines are
`+<pgid>`, `-<pgid>`, `dir <path>` and `bye`. The end of the pipe without `bye` is the death of the cloud (kill -9
included): the kernel closes the pipe however the process ended, which is what makes this safe where `atexit` is not.
"""

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Follow the pipe to its end, then clean up."""
    # The terminal's Ctrl-C is meant for the cloud; the guardian still has work to do after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    groups: set[int] = set()
    directories: list[str] = []
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line == "bye":
            return
        if line.startswith("dir "):
            directories.append(line[4:])
        elif line.startswith("+"):
            groups.add(int(line[1:]))
        elif line.startswith("-"):
            groups.discard(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
