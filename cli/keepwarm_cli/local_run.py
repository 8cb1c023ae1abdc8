"""`keepwarm local run`: the main job, from nothing to proof that nothing is left."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from keepwarm_cli.deployed_stack import Stack, Times
from keepwarm_cli.documents import Uploads, collect_documents
from keepwarm_cli.errors import CliError, left_behind, with_code
from keepwarm_cli.follow import Follower
from keepwarm_cli.interrupts import Interrupts
from keepwarm_cli.live_table import documents_table
from keepwarm_cli.local_commands import RunOptions


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
    uploads = Uploads(stack, follower, outputs["intake_bucket"], console, timeout_s=options.timeout_s)
    with times.stage("documents"):
        uploads.push(documents)
        if options.again:
            again = list(follower.documents.values())[: options.again]
            console.print(f"uploading {', '.join(d.name for d in again)} again")
            uploads.push_again(again)
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


def _publish_models(stack: Stack, outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Publish the models of the program; what the deployment already published is verified, not sent again."""
    from keepwarm_cli.models import publish_built

    return publish_built(stack.built().models, outputs["models_bucket"], stack.cloud.endpoint())


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
    return [a.as_dict() for a in checklist.answer(stack.settings().effective, facts, price)]


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
