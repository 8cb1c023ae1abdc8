"""The documents of a run: which files they are, and their way into the stack to their last outcome."""

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.live import Live

from keepwarm_cli.deployed_stack import Stack
from keepwarm_cli.errors import CliError, coded_line
from keepwarm_cli.follow import Followed, Follower
from keepwarm_cli.live_table import documents_table


def collect_documents(folder: Path) -> list[Path]:
    """Files of a folder that count as documents, sorted by name; truths and notes beside them do not.

    Raises:
        CliError: KW651, the folder is missing, not a folder, unreadable or has no document in it.
    """
    if not folder.exists():
        raise CliError(
            "KW651",
            "documents",
            got=f"{folder}, which does not exist",
            allowed="a folder with at least one file",
        )
    if not folder.is_dir():
        raise CliError(
            "KW651",
            "documents",
            got=f"{folder}, which is not a folder",
            allowed="a folder with at least one file",
        )
    try:
        found = sorted(p for p in folder.iterdir() if p.is_file() and not _aside(p))
    except OSError as error:
        raise CliError(
            "KW651",
            "documents",
            got=f"{folder}, which can't be read ({error.strerror})",
            allowed="a folder with at least one file",
        ) from None
    if not found:
        raise CliError(
            "KW651", "documents", got=f"{folder}, which is empty", allowed="a folder with at least one file"
        )
    return found


def _aside(path: Path) -> bool:
    return (
        path.name.startswith(".") or path.name.endswith(".truth.txt") or path.name in {"README.md", "LICENSE"}
    )


class Uploads:
    """Uploads documents to the intake bucket and follows each to its outcome, with a live table."""

    def __init__(
        self, stack: Stack, follower: Follower, bucket: str, console: Console, *, timeout_s: int
    ) -> None:
        self._stack = stack
        self._follower = follower
        self._bucket = bucket
        self._console = console
        self._timeout_s = timeout_s
        self._files: dict[str, Path] = {}

    def push(self, files: Iterable[Path]) -> None:
        """Upload files and follow them to the last outcome; one that can't be read fails, the others go on."""
        readable = []
        for path in files:
            document = Followed(path.name, path.name, "", 0, time.time())
            self._follower.add(document)
            self._files[document.key] = path
            try:
                document.sha256, document.size_bytes = _sha256(path), path.stat().st_size
            except OSError as error:
                _not_sent(document, f"can't be read ({error.strerror})")
            else:
                readable.append(document)
        self._follow(readable)

    def push_again(self, documents: Iterable[Followed]) -> None:
        """Upload documents once more, which must change nothing."""
        documents = list(documents)
        for document in documents:
            document.uploads += 1
        self._follow(documents)

    def _follow(self, documents: Iterable[Followed]) -> None:
        deadline = time.monotonic() + self._timeout_s
        live = Live(console=self._console, refresh_per_second=8, transient=True)
        with ThreadPoolExecutor(4) as pool, live:
            uploads: list[Future[None]] = [pool.submit(self._upload, d) for d in documents]
            while self._follower.waiting() and time.monotonic() < deadline:
                for upload in [u for u in uploads if u.done()]:
                    uploads.remove(upload)
                    upload.result()
                self._follower.step(0.5)
                live.update(documents_table(self._follower, self._console.width))
        for late in self._follower.waiting():
            late.outcome, late.code = late.outcome or "failed", late.code or "KW658"
            late.reason = (
                late.reason or f"no outcome within {self._timeout_s} s; raise --timeout-s or see the journal"
            )
            late.finished = late.uploads

    def _upload(self, document: Followed) -> None:
        from botocore.exceptions import ClientError

        try:
            with self._files[document.key].open("rb") as body:
                self._stack.client("s3").put_object(Bucket=self._bucket, Key=document.key, Body=body)
        except ClientError as error:
            _not_sent(document, f"was refused by S3 ({error.response['Error'].get('Code')})")
        except OSError as error:
            _not_sent(document, f"can't be read ({error.strerror})")


def _not_sent(document: Followed, what: str) -> None:
    """End a document that never reached the stack; the others go on."""
    document.outcome, document.code, document.stage = "failed", "KW662", "done"
    document.reason = coded_line(
        "KW662",
        "document",
        got=f"{document.name}, which {what}",
        allowed="a readable file of up to 5 GB",
    )
    document.finished = document.uploads
    document.ended_s = time.time()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
