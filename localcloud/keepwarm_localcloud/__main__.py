"""`python -m keepwarm_localcloud`: run the embedded cloud until SIGTERM, SIGINT or the end of standard input."""

import argparse
import contextlib
import gc
import json
import os
import select
import signal
import sys
from pathlib import Path

from keepwarm_localcloud import owner
from keepwarm_localcloud.errors import LocalCloudError


def main(arguments: list[str] | None = None) -> int:
    """Run; gives the exit status: 0 clean end, 1 something was left behind, 2 it could not start."""
    options = _options(arguments)
    if options.daemon_file is not None:
        _detach()
    # A pipe turns signals into something the one waiting select() sees, whenever they come, start-up included.
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake_write)

    # Until all is imported: `Cloud` says when.
    gc.disable()
    from keepwarm_localcloud.cloud import Cloud, CloudSettings

    cloud = Cloud(
        CloudSettings(
            port=options.port,
            directory=options.dir,
            host=options.host,
            region=options.region,
            image_mirrors=dict(options.image_mirror),
            code_cache=options.code_cache,
            preload=True,
        ),
        on_preloaded=_collect_from_here,
    )
    try:
        cloud.start()
    except LocalCloudError as error:
        gc.enable()
        print(error, file=sys.stderr)
        return 2
    if options.owner is not None:
        owner.when_it_ends(options.owner, lambda: os.write(wake_write, b"\0"))
    try:
        ready = json.dumps({"endpoint": cloud.endpoint, "pid": os.getpid()})
        if options.daemon_file is not None:
            _write_atomically(options.daemon_file, ready)
        print(ready, flush=True)
        _wait(wake_read, watch_stdin=options.daemon_file is None)
    except BrokenPipeError:
        pass  # Whoever started this is gone, which is what standard input would have said too.
    finally:
        left = cloud.close()
        if options.daemon_file is not None:
            options.daemon_file.unlink(missing_ok=True)
    if left:
        print(f"KW606 localcloud close: got {json.dumps(left)}", file=sys.stderr)
        return 1
    return 0


def _collect_from_here() -> None:
    """Leave what the start made to itself: it lives as long as this process."""
    gc.freeze()
    gc.enable()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="keepwarm_localcloud", description="The embedded AWS of Keepwarm.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--region", default="us-east-1", help="region that the cloud is (default: us-east-1)")
    parser.add_argument("--dir", type=Path, default=None, help="folder for objects and environments")
    parser.add_argument(
        "--code-cache", type=Path, default=None, help="folder that keeps unzipped packages between clouds"
    )
    parser.add_argument(
        "--daemon-file",
        type=Path,
        default=None,
        help="detach, write endpoint and pid to this file, and run until SIGTERM",
    )
    parser.add_argument(
        "--owner",
        type=int,
        metavar="PID",
        default=None,
        help="end when this process has ended, however it ended",
    )
    parser.add_argument(
        "--image-mirror",
        type=_mirror,
        action="append",
        default=[],
        metavar="REPO=DIR",
        help="local image directory that stands for an image repository; may be repeated",
    )
    return parser.parse_args(arguments)


def _mirror(text: str) -> tuple[str, str]:
    repository, equals, directory = text.partition("=")
    if not (repository and equals and directory):
        raise argparse.ArgumentTypeError(f"{text!r} is not REPO=DIR")
    return repository, directory


def _wait(wake: int, *, watch_stdin: bool) -> None:
    watched = [wake]
    if watch_stdin:
        with contextlib.suppress(ValueError, OSError):
            watched.append(sys.stdin.fileno())
    while True:
        readable, _, _ = select.select(watched, [], [])
        if wake in readable:
            return
        if not os.read(sys.stdin.fileno(), 4_096):
            return


def _detach() -> None:
    """Own session, no terminal: the caller's Ctrl-C and its end do not reach the daemon."""
    with contextlib.suppress(PermissionError):
        os.setsid()


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
