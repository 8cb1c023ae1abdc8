"""The embedded cloud and the provider that stay between commands, and what ends them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError

OWNER: Final = "KEEPWARM_CLOUD_OWNER"
"""Process that the daemons end with. Default: none, they stay until `keepwarm local reset`."""


IMAGE_MIRRORS: Final = "KEEPWARM_IMAGE_MIRRORS"
"""`REPO=DIR ...`: local image directories that stand for image repositories in the embedded cloud."""


def cloud_endpoint(folder: Folder) -> str | None:
    """Endpoint of the cloud that runs for this project, or None."""
    try:
        found = json.loads(folder.cloud_file.read_text())
        with urlopen(f"{found['endpoint']}/_keepwarm/health", timeout=5):  # noqa: S310 - written by our daemon
            return str(found["endpoint"])
    except (OSError, ValueError, KeyError):
        return None


def start_cloud(folder: Folder, environment: Mapping[str, str], region: str | None = None) -> str:
    """Start the embedded cloud of a region (default: its own) as a daemon and wait until it answers.

    Raises:
        CliError: KW653 with the end of its log.
    """
    folder.cloud_file.unlink(missing_ok=True)
    log = folder.root / "cloud.log"
    place = ["--region", region] if region else []
    mirrors = [a for m in environment.get(IMAGE_MIRRORS, "").split() for a in ("--image-mirror", m)]
    with log.open("wb") as target:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keepwarm_localcloud",
                "--daemon-file",
                str(folder.cloud_file),
                *place,
                *mirrors,
                *owner_arguments(environment),
            ],
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            env=dict(environment),
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        endpoint = cloud_endpoint(folder) if folder.cloud_file.exists() else None
        if endpoint is not None:
            let_go(process)
            return endpoint
        if process.poll() is not None:
            break
        time.sleep(0.05)
    tail = " ".join(log.read_text(errors="replace").split())[-400:]
    raise CliError(
        "KW653",
        "embedded cloud",
        problem=f"did not start: {tail}",
        fix=f"see the whole log in {log}, then run the command again",
    )


def owner_arguments(environment: Mapping[str, str]) -> list[str]:
    """Arguments that tie a daemon to the process that `KEEPWARM_CLOUD_OWNER` names.

    Raises:
        CliError: KW653, it names none.
    """
    named = environment.get(OWNER)
    if not named:
        return []
    if not named.isdigit() or not alive(int(named)):
        raise CliError(
            "KW653",
            "embedded cloud",
            got=f"{OWNER}={named!r}",
            allowed="the id of a running process",
            fix="set it to one, or unset it",
        )
    return ["--owner", named]


def let_go(process: "subprocess.Popen[bytes]") -> None:
    """Make a daemon of a child: nobody waits for it here, and its life is no leak of this process."""
    process.returncode = 0


def stop_cloud(folder: Folder, *, timeout_s: float = 30.0) -> bool:
    """Stop the cloud of this project; False when none runs."""
    try:
        pid = int(json.loads(folder.cloud_file.read_text())["pid"])
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError, KeyError):
        return False
    _wait_gone(pid, timeout_s)
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
    folder.cloud_file.unlink(missing_ok=True)
    return True


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


def provider_port(folder: Folder, endpoint: str, environment: Mapping[str, str]) -> int:
    """Port of the provider that stays for a cloud, started if none runs.

    Raises:
        CliError: KW670, it ended instead.
    """
    handle = folder.root / "provider.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads(handle.read_text())
        if found["endpoint"] == endpoint and alive(int(found["pid"])):
            return int(found["port"])
    log = (folder.root / "provider.log").open("ab")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keepwarm_localcloud.engine.provider",
            "--endpoint",
            endpoint,
            *owner_arguments(environment),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=dict(environment),
        start_new_session=True,
    )
    log.close()
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    process.stdout.close()
    if not line.isdigit():
        raise CliError(
            "KW670",
            "provider",
            problem="exited before it was ready",
            fix=f"see its log in {folder.root / 'provider.log'}, then run it again",
        )
    handle.write_text(json.dumps({"pid": process.pid, "port": int(line), "endpoint": endpoint}))
    let_go(process)
    return int(line)


def stop_provider(folder: Folder, *, timeout_s: float = 10.0) -> bool:
    """Stop the provider of this project; False when none runs."""
    try:
        pid = int(json.loads((folder.root / "provider.json").read_text())["pid"])
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError, KeyError):
        return False
    _wait_gone(pid, timeout_s)
    return True


def _wait_gone(pid: int, timeout_s: float) -> None:
    """Wait for the end of a process that may be a child of this one."""
    deadline = time.monotonic() + timeout_s
    while alive(pid) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
