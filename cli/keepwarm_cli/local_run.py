"""`keepwarm local run` and `keepwarm local up`: the main job, from nothing to proof that nothing is left."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from keepwarm_cli.cloud_process import CloudProcess
from keepwarm_cli.errors import CliError, coded_line, left_behind, with_code
from keepwarm_cli.follow import Followed, Follower
from keepwarm_cli.interrupts import Interrupts
from keepwarm_cli.local_commands import RunOptions, StackOptions
from keepwarm_cli.project import find_project, import_program, stack_config

PROJECT = "keepwarm"
WIDE_COLUMNS = 120


@dataclass(slots=True)
class Times:
    """Seconds per stage, in the order they ended."""

    started: float = field(default_factory=time.time)
    stages: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = time.monotonic() - began


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


def _prepare_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".keepwarm-write"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise CliError(
            "KW652",
            "out",
            got=f"{out}, which can't be written ({error.strerror})",
            fix="choose another folder",
        ) from None


class Stack:
    """The program deployed on an embedded cloud, and the clients to use it."""

    def __init__(
        self, stack: str, port: int, console: Console, times: Times, interrupts: Interrupts, ending: ExitStack
    ) -> None:
        self.project = find_project()
        self.config = stack_config(self.project, stack)
        self.name = stack
        self.region = self.config.get("aws:region", "us-east-1")
        self._console = console
        self._times = times
        self._interrupts = interrupts
        # Everything slow starts at once: the cloud's imports in its process, pulumi's in this one.
        with interrupts.held():
            self.cloud = CloudProcess(
                port=port, region=self.region, code_cache=self.project / "build" / "unzipped"
            )
            ending.callback(self.stop)
        from keepwarm_localcloud.engine import garbage_collection, lazy_aws

        lazy_aws.install()
        with garbage_collection.PAUSED:
            from keepwarm_localcloud.engine.driver import Deployment, prewarm

            prewarm()
            with times.stage("import_program"):
                self.program = import_program(self.project)
        self.deployment = Deployment(
            self.cloud.endpoint,
            project=PROJECT,
            stack=stack,
            config=self.config,
            region=self.region,
            on_event=self._event,
        )
        self._progress: Callable[[str], None] = lambda _: None
        self._done = 0
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _event(self, event: Any) -> None:
        if event.status == "done":
            self._done += 1
            self._progress(f"{event.op} {event.type.rpartition(':')[2]} {event.name} ({self._done})")

    def settings(self) -> Any:
        """The settings that the program reads from this stack's configuration."""
        return self.program.settings_of(self.config, self.name)

    def built(self) -> Any:
        """What the program deploys; built by the deployment already, so this only finds it."""
        return self.program.build(self.settings())

    def client(self, service: str) -> Any:
        """A boto3 client of the endpoint, made once."""
        with self._lock:
            if service not in self._clients:
                import boto3

                self._clients[service] = boto3.client(
                    service,
                    endpoint_url=self.cloud.endpoint(),
                    region_name=self.region,
                    aws_access_key_id="operator",
                    aws_secret_access_key="operator",  # noqa: S106 - the embedded cloud has no account to protect
                )
            return self._clients[service]

    def deploy(self) -> Any:
        """Bring the stack up; a refusal of a setting or resource is one coded line each."""
        from pulumi import RunError

        from keepwarm_localcloud.engine.driver import DeploymentError

        try:
            with self._console.status("deploying") as status, self._times.stage("deploy"):
                self._progress = lambda said: status.update(f"deploying: {said}")
                return self.deployment.up(self.program.main)
        except DeploymentError as error:
            raise CliError(
                "KW656", f"stack '{self.name}'", problem=f"could not be deployed:\n{error}", exit_code=1
            ) from None
        except RunError as refused:
            # What the program says about its own input: settings, arguments of a component, a bundle.
            raise CliError(
                "KW656", f"stack '{self.name}'", problem=f"could not be deployed:\n{refused}"
            ) from None
        finally:
            self._progress = lambda _: None

    def stop(self) -> list[str]:
        """Stop the cloud, whatever state it is in; a second Ctrl-C waits for that."""
        with self._interrupts.held():
            self._interrupts.left = self.cloud.stop()
            return self._interrupts.left

    def tear_down(self) -> list[str]:
        """Destroy the stack and name every resource that is still there."""
        from keepwarm_localcloud.engine.driver import DeploymentError

        failed: list[str] = []
        with self._console.status("tearing down") as status, self._times.stage("destroy"):
            self._progress = lambda said: status.update(f"tearing down: {said}")
            try:
                self.deployment.destroy()
            except DeploymentError as error:
                failed = [str(f) for f in error.failures]
        inventory = self.cloud.get("inventory")
        return failed + [
            f"{service} {kind} {name}"
            for service, kinds in sorted(inventory.items())
            for kind, names in sorted(kinds.items())
            for name in names
        ]


def run(options: RunOptions) -> int:
    """Do the main job; returns the exit code of contract C7.

    Raises:
        CliError: bad input, before anything is started.
    """
    documents = collect_documents(options.documents)
    _prepare_out(options.out)
    console = Console(stderr=options.json, highlight=False)
    times = Times()
    with Interrupts() as interrupts, ExitStack() as ending:
        stack = Stack(options.stack, options.port, console, times, interrupts, ending)
        with stack.cloud.in_use():
            report = _run_stack(stack, documents, options, console, times)
            left = stack.tear_down()
        left += stack.stop()
    return _conclude(report, left, options, console, times)


def _run_stack(
    stack: Stack, documents: list[Path], options: RunOptions, console: Console, times: Times
) -> dict[str, Any]:
    from keepwarm_cli.report import build_report

    up = stack.deploy()
    deploy_s = time.time() - times.started
    outputs = up.outputs
    console.print(
        f"deployed [bold]{up.resources}[/] resources of stack '{options.stack}' in {deploy_s:.1f} s,"
        f" at {stack.cloud.endpoint()}"
    )
    with times.stage("publish_models"):
        models = _publish_models(stack, outputs)
    for m in models:
        console.print(
            f"model {m['name']} {m['version']} {m['digest'][:12]} on '{m['channel']}':"
            f" {m['size_bytes']:,} bytes, verified"
        )
    follower = Follower(
        lambda since, wait_s: stack.cloud.get(
            f"journal?since={since}&wait_s={wait_s}", timeout_s=wait_s + 30
        ),
        stack.client,
        outputs,
    )
    with times.stage("documents"):
        _push(stack, follower, documents, outputs, console, options.timeout_s)
        if options.again:
            again = list(follower.documents.values())[: options.again]
            console.print(f"uploading {', '.join(d.name for d in again)} again")
            for document in again:
                document.uploads += 1
            _push(
                stack,
                follower,
                [],
                outputs,
                console,
                options.timeout_s,
                again=again,
                folder=options.documents,
            )
    follower.step(0.2)
    console.print(documents_table(follower, console.width))
    follower.count_effects()
    _keep_texts(follower, options.out / "texts")
    report = build_report(
        follower,
        stack.config,
        options,
        models,
        outputs,
        deploy_s=deploy_s,
        resources=up.resources,
        started_s=times.started,
    )
    report["checklist"] = _checklist(stack, report, options.out)
    return report


def _keep_texts(follower: Follower, folder: Path) -> None:
    """Write what was read of each document, as the stack published it, to a file of its own."""
    folder.mkdir(exist_ok=True)
    for document in follower.documents.values():
        if document.text is not None:
            (folder / f"{document.name}.txt").write_text(document.text, encoding="utf-8")


def _checklist(stack: Stack, report: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """Answer the seven questions of a serverless AI design from this stack's settings and this run's own figures."""
    from keepwarm_planner import prices
    from keepwarm_planner.answers import checklist
    from keepwarm_planner.answers.calibration import calibrate
    from keepwarm_planner.errors import PlannerError

    events = out / "events.jsonl"
    with events.open("w") as lines:
        lines.writelines(json.dumps(e["event"]) + "\n" for e in report["journal"] if e["kind"] == "result")
    built = stack.built()
    took = [i["duration_ms"] for i in report["invocations"] if i["duration_ms"] is not None]
    try:
        measured = calibrate([events], function=report["outputs"]["functions"]["classify"])
    except PlannerError:
        # No first invocation ever answered: the question stays open, and the report says why documents failed.
        measured = None
    facts = checklist.Facts(
        bundle_bytes={name: bundle.unzipped_bytes for name, bundle in built.functions.items()},
        model_bytes=report["models"][0]["size_bytes"],
        requests_per_s=report["summary"]["documents_per_s"],
        service_s=sum(took) / len(took) / 1000 if took else None,
        calibration=measured,
        summary=report["summary"],
        resources=tuple(sorted({r.type for r in stack.deployment.state.resources.values()})),
    )
    try:
        price = prices.load(stack.config.get("aws:region", prices.DEFAULT_REGION))
    except PlannerError:
        # A region that the price file does not know: the questions of money can be answered with its own prices only.
        return []
    return [a.as_dict() for a in checklist.answer(stack.settings().model_dump(mode="json"), facts, price)]


def _publish_models(stack: Stack, outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Publish the models of the program; what the deployment already published is verified, not sent again."""
    from keepwarm_cli.models import publish_built

    return publish_built(stack.built().models, outputs["models_bucket"], stack.cloud.endpoint())


def _push(
    stack: Stack,
    follower: Follower,
    documents: list[Path],
    outputs: dict[str, Any],
    console: Console,
    timeout_s: int,
    *,
    again: list[Followed] | None = None,
    folder: Path | None = None,
) -> None:
    """Upload and follow to the last outcome, with a live table."""
    todo: list[tuple[Followed, Path]] = []
    for path in documents:
        document = Followed(path.name, path.name, "", 0, time.time())
        follower.add(document)
        try:
            document.sha256, document.size_bytes = _sha256(path), path.stat().st_size
        except OSError as error:
            _not_sent(document, f"can't be read ({error.strerror})")
        else:
            todo.append((document, path))
    todo += [(d, (folder or Path()) / d.name) for d in again or []]
    deadline = time.monotonic() + timeout_s
    with ThreadPoolExecutor(4) as pool, Live(console=console, refresh_per_second=8, transient=True) as live:
        uploads: list[Future[None]] = [pool.submit(_upload, stack, outputs, d, p) for d, p in todo]
        while follower.waiting() and time.monotonic() < deadline:
            for upload in [u for u in uploads if u.done()]:
                uploads.remove(upload)
                upload.result()
            follower.step(0.5)
            live.update(documents_table(follower, console.width))
    for late in follower.waiting():
        late.outcome, late.code = late.outcome or "failed", late.code or "KW658"
        late.reason = late.reason or f"no outcome within {timeout_s} s; raise --timeout-s or see the journal"
        late.finished = late.uploads


def _upload(stack: Stack, outputs: dict[str, Any], document: Followed, path: Path) -> None:
    from botocore.exceptions import ClientError

    try:
        with path.open("rb") as body:
            stack.client("s3").put_object(Bucket=outputs["intake_bucket"], Key=document.key, Body=body)
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


def documents_table(follower: Follower, width: int) -> Table:
    """The live table: a row per document; phases where the terminal has room for them."""
    wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="dim")
    # Of a narrow terminal's 80 columns only names give way: a figure that is cut off says nothing.
    table.add_column("document", no_wrap=True, overflow="ellipsis", max_width=32 if wide else 25)
    for name in ("type", "outcome", "start"):
        table.add_column(name, no_wrap=True)
    table.add_column("prevented", justify="right", no_wrap=True)
    if wide:
        table.add_column("cold start phases, ms", no_wrap=True, overflow="ellipsis")
    table.add_column("ms", justify="right", no_wrap=True)
    for document in follower.documents.values():
        first = document.first("classify") or {}
        start = (
            "provisioned"
            if first.get("pool") == "provisioned"
            else "cold"
            if first.get("cold")
            else "warm"
            if first
            else ""
        )
        phases = " ".join(f"{k} {v:.0f}" for k, v in (first.get("phases") or {}).items() if v and v >= 1)
        if document.waiting:
            outcome = Text(document.stage, style="dim")
        elif document.outcome == "succeeded":
            outcome = Text("succeeded", style="green")
        else:
            outcome = Text(f"failed {document.code}", style="red")
        ended = document.ended_s or time.time()
        cells: list[str | Text] = [
            document.name,
            document.label or "",
            outcome,
            start,
            str(document.duplicates_prevented or ""),
            *([phases] if wide else []),
        ]
        table.add_row(*cells, f"{(ended - document.uploaded_s) * 1000:,.0f}")
    return table


def _conclude(
    report: dict[str, Any], left: list[str], options: RunOptions, console: Console, times: Times
) -> int:
    from keepwarm_cli.report_html import render

    summary = report["summary"]
    summary["leftovers"] = len(left)
    report["leftovers_found"] = left
    with (options.out / "journal.jsonl").open("w") as journal:
        journal.writelines(json.dumps(entry) + "\n" for entry in report.pop("journal"))
    report["times_s"] = {k: round(v, 3) for k, v in times.stages.items()}
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (options.out / "report.html").write_text(render(report), encoding="utf-8")
    if options.json:
        print(json.dumps(report))
    for what in left:
        console.print(left_behind(what), style="red", markup=False)
    failed = [d for d in report["documents"] if d["outcome"] != "succeeded"]
    for d in failed:
        console.print(f"{d['name']}: {with_code(d['code'], d['reason'])}", style="red", markup=False)
    console.print(
        f"{summary['succeeded']} of {summary['documents']} documents succeeded, {summary['effects']} side effects,"
        f" {summary['duplicates']} duplicate{'' if summary['duplicates'] == 1 else 's'} prevented,"
        f" {summary['cold_starts']} cold and"
        f" {summary['provisioned_hits']} provisioned starts; left behind: {summary['leftovers']}"
    )
    console.print(f"report: {options.out / 'report.html'}")
    unexplained = [d for d in failed if not d["about_the_document"]]
    return 1 if unexplained or left or summary["repeated_effects"] else 0


def up(options: StackOptions) -> int:
    """Keep the stack running until Ctrl-C; the live log is the journal."""
    console = Console(stderr=options.json, highlight=False)
    times = Times()
    with Interrupts() as interrupts, ExitStack() as ending:
        stack = Stack(options.stack, options.port, console, times, interrupts, ending)
        deployed = stack.deploy()
        told = {
            "endpoint": stack.cloud.endpoint(),
            "outputs": deployed.outputs,
            "resources": deployed.resources,
        }
        if options.json:
            print(json.dumps(told), flush=True)
        else:
            console.print(f"endpoint [bold]{told['endpoint']}[/]; stop with Ctrl-C")
            console.print_json(json.dumps(deployed.outputs))
        with stack.cloud.in_use():
            with contextlib.suppress(KeyboardInterrupt):
                _log_journal(stack.cloud, console)
            left = stack.tear_down()
        left += stack.stop()
    for what in left:
        console.print(left_behind(what), style="red", markup=False)
    return 1 if left else 0


def _log_journal(cloud: CloudProcess, console: Console) -> None:
    since = 0
    while True:
        for entry in cloud.get(f"journal?since={since}&wait_s=5", timeout_s=35):
            since = entry["sequence"]
            at = datetime.fromtimestamp(entry["at_s"], UTC).strftime("%H:%M:%S.%f")[:-3]
            facts = " ".join(
                f"{k}={v}" for k, v in entry.items() if k not in {"sequence", "at_s", "kind", "event"}
            )
            console.print(Group(Text(f"{at} {entry['kind']:<12} {facts}", overflow="ellipsis", no_wrap=True)))
