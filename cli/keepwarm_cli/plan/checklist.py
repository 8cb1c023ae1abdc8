"""`keepwarm plan checklist`: the seven questions before a deployment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keepwarm_cli.command_line import CHECK_FAILED, Json, Options
from keepwarm_cli.plan.options import Pricing, print_json

if TYPE_CHECKING:
    from keepwarm_planner.answers.checklist import Answer, Facts


@dataclass(frozen=True, kw_only=True)
class Evidence(Options, heading="Evidence"):
    """What the stack file does not say."""

    report: Annotated[Path | None, typer.Option(help="report.json of `keepwarm local run`.")] = None
    from_events: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-events", help="Result events (JSON lines) of real or local runs; may be given repeatedly."
        ),
    ] = None
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="NAME=BYTES, unzipped size of a function's package; may be repeated."),
    ] = None
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of built packages: a zip or folder per function.")
    ] = None
    model_mb: Annotated[float | None, typer.Option(help="Models that one environment loads, MB.")] = None
    requests_per_s: Annotated[float | None, typer.Option(help="Mean arrivals per second.")] = None
    service_s: Annotated[float | None, typer.Option(help="Mean time of a request, seconds.")] = None

    def check(self) -> None:
        """Refuse quantities that are none."""
        from keepwarm_planner.errors import PlannerError

        for option, value in (
            ("--requests-per-s", self.requests_per_s),
            ("--service-s", self.service_s),
            ("--model-mb", self.model_mb),
        ):
            if value is not None and not value > 0.0:
                raise PlannerError("KW500", f"checklist {option}", value, "more than 0")

    def facts(self) -> "Facts":
        """Read the evidence.

        Raises:
            PlannerError: KW500, KW503 and KW514, what can't be read.
        """
        from keepwarm_planner.answers.calibration import calibrate
        from keepwarm_planner.answers.checklist import Facts, facts_from_report

        sizes = self._bundle_bytes()
        calibration = calibrate(self.from_events, prefer="classify") if self.from_events else None
        summary, resources = facts_from_report(self.report) if self.report is not None else ({}, ())
        return Facts(
            bundle_bytes=sizes,
            model_bytes=int(self.model_mb * 1e6) if self.model_mb is not None else None,
            requests_per_s=self.requests_per_s,
            service_s=self.service_s,
            calibration=calibration,
            summary=summary,
            resources=resources,
        )

    def _bundle_bytes(self) -> dict[str, int]:
        from keepwarm_planner.answers.checklist import bundle_sizes
        from keepwarm_planner.errors import PlannerError

        sizes = bundle_sizes(self.bundles) if self.bundles is not None else {}
        for item in self.bundle or []:
            name, equals, text = item.partition("=")
            if not equals or not text.isdigit():
                raise PlannerError("KW500", "checklist --bundle", repr(item), "NAME=BYTES")
            sizes[name] = int(text)
        return sizes


@dataclass(frozen=True, kw_only=True)
class ChecklistOptions(Evidence, Pricing, Json):
    """Everything that `checklist` can be asked."""

    stack: Annotated[Path, typer.Option(help="Stack file: stacks/Pulumi.NAME.yaml.")] = Path(
        "stacks/Pulumi.prod.yaml"
    )
    html: Annotated[Path | None, typer.Option(help="Write the report's HTML section to this file.")] = None


def run(options: ChecklistOptions) -> None:
    """The seven questions, answered for this stack with evidence. An unanswered one is a failure."""
    from keepwarm_cli.plan.stack_file import resolved_settings
    from keepwarm_planner.answers.checklist import answer, as_html

    settings = resolved_settings(options.stack)
    answers = answer(settings, options.facts(), options.table())
    if options.html is not None:
        options.html.write_text(as_html(answers), encoding="utf-8")
    ok = all(a.ok for a in answers)
    if options.json:
        print_json({"stack": str(options.stack), "ok": ok, "answers": [a.as_dict() for a in answers]})
    else:
        _show(answers, options.stack)
    if not ok:
        raise typer.Exit(CHECK_FAILED)


def _show(answers: "Sequence[Answer]", stack: Path) -> None:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    console = view.console()
    table = view.table(f"Checklist of {stack}", "", "question", "answer and evidence")
    for a in answers:
        mark = "[green]ok[/green]" if a.ok else "[red]fail[/red]" if a.answered else "[yellow]open[/yellow]"
        lines = [f"[bold]{escape(a.text)}[/bold]", *(f"- {escape(e)}" for e in a.evidence)]
        if a.fix:
            lines.append(f"[yellow]fix: {escape(a.fix)}[/yellow]")
        table.add_row(mark, f"{a.number}. {escape(a.question)}", "\n".join(lines))
    console.print(table)
    left = sum(not a.answered for a in answers)
    if left:
        console.print(f"[yellow]{left} of {len(answers)} questions are unanswered[/yellow]")
