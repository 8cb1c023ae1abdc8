"""What the engine costs: preview, up, no-op up and destroy of the whole stack, with the real CLI and in process.

    python benchmarks/bench_engine.py [--stack local] [--json]

Both drivers work on the same table of resource types, on embedded clouds of their own, in one run; the ratio says
what the real engine adds. The CLI is found as `keepwarm pulumi` finds it (`make pulumi` builds it).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds a step takes, and what it gives."""
    started = time.perf_counter()
    result = step()
    return time.perf_counter() - started, result


def with_engine(stack: str) -> dict[str, float]:
    """The steps with the real CLI; cloud and program are started before the clock is."""
    from infra import program
    from keepwarm_cli.engine import by_hand, command
    from keepwarm_cli.engine.daemons import start_cloud
    from keepwarm_cli.engine.state_folder import Folder

    project = Path(tempfile.mkdtemp(prefix="keepwarm-bench-"))
    (project / "Pulumi.yaml").write_text("name: keepwarm\nruntime: python\nmain: .\nstackConfigDir: stacks\n")
    (project / "stacks").mkdir()
    source = ROOT / "stacks" / f"Pulumi.{stack}.yaml"
    (project / "stacks" / source.name).write_text(source.read_text())
    environment = {**os.environ, "PULUMI_HOME": str(project / "home")}
    folder = Folder(project)
    folder.open()
    start_cloud(folder, environment)

    def run(*arguments: str) -> None:
        with (project / "out.txt").open("w") as output:
            status = command.run(
                project,
                [*arguments, "--non-interactive", "--color=never", "--stack", stack],
                environment=environment,
                program=program.main,
                output=output,
            )
        if status != 0:
            raise SystemExit((project / "out.txt").read_text())

    try:
        run("preview")  # imports, bundles, the stack itself: once, as after an installation
        return {
            "preview": timed(lambda: run("preview"))[0],
            "up": timed(lambda: run("up", "--yes", "--skip-preview"))[0],
            "no-op up": timed(lambda: run("up", "--yes", "--skip-preview"))[0],
            "destroy": timed(lambda: run("destroy", "--yes", "--skip-preview"))[0],
        }
    finally:
        by_hand.local_reset(project)


def in_process(stack: str) -> tuple[dict[str, float], int]:
    """The same steps with the in-process driver, the cloud as a process of its own."""
    from infra import program
    from keepwarm_cli.cloud_process import CloudProcess
    from keepwarm_cli.project import stack_config
    from keepwarm_localcloud.engine.driver import Deployment

    with CloudProcess() as cloud:
        deployment = Deployment(
            cloud.endpoint, project="keepwarm", stack=stack, config=stack_config(ROOT, stack)
        )
        deployment.preview(program.main)
        measured = {"preview": timed(lambda: deployment.preview(program.main))[0]}
        measured["up"], result = timed(lambda: deployment.up(program.main))
        measured["no-op up"], again = timed(lambda: deployment.up(program.main))
        if again.changed():
            raise SystemExit(f"the second up was not empty: {again.changed()}")
        measured["destroy"] = timed(deployment.destroy)[0]
        deployment.close()
    return measured, result.resources


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", default="local")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    own, resources = in_process(options.stack)
    real = with_engine(options.stack)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if options.json:
        print(
            json.dumps(
                {
                    "stack": options.stack,
                    "resources": resources,
                    "load": load,
                    "engine": real,
                    "in_process": own,
                }
            )
        )
        return 0
    print(f"{options.stack}: {resources} resources; load {load:.1f} per core when done")
    print(f"{'step':<10} {'real CLI s':>11} {'in process s':>13} {'ratio':>7}")
    for step, seconds in real.items():
        print(f"{step:<10} {seconds:>11.2f} {own[step]:>13.2f} {seconds / own[step]:>6.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
