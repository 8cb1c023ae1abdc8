"""A project of its own with the real CLI, the embedded cloud as its daemon and the gRPC provider."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3

from keepwarm_cli.engine import by_hand, command, state
from keepwarm_cli.engine.daemons import OWNER, cloud_endpoint
from keepwarm_cli.engine.state_folder import Folder

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Result:
    """What one run of the CLI did."""

    status: int
    text: str
    seconds: float
    operations: dict[str, list[str]] = field(default_factory=dict)
    """URN -> operations of the engine's own event log, `same` left out."""
    notes: list[str] = field(default_factory=list)

    def changed(self) -> dict[str, str]:
        """Name -> `create`, `update`, `replace`, `delete`, ... of resources that are no components."""
        found = {}
        for urn, operations in self.operations.items():
            kind = urn.split("::")[2].rpartition("$")[2]
            if kind.startswith("aws:"):
                shown = "replace" if any("replace" in o for o in operations) else operations[0]
                found[f"{kind.rpartition(':')[2]} {urn.rpartition('::')[2]}"] = shown
        return found


class Project:
    """A folder with a Pulumi project. `close` stops everything and removes the state."""

    def __init__(self, folder: Path, program: Callable[[], Any] | None = None, *, name: str = "proj") -> None:
        self.folder = folder
        self.program = program
        self.name = name
        self.environment: dict[str, str] = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "AWS_"))},
            "PULUMI_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
            # However this test run ends, killed included, its clouds end with it.
            OWNER: str(os.getpid()),
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Pulumi.yaml").write_text(
            f"name: {name}\nruntime: python\nmain: program\nstackConfigDir: stacks\n"
        )
        (folder / "stacks").mkdir(exist_ok=True)
        self.stack_file("local", {})

    def stack_file(self, stack: str, config: Mapping[str, Any]) -> None:
        """Write the configuration of a stack."""
        text = json.dumps({"config": {"aws:region": "us-east-1", **config}})
        (self.folder / "stacks" / f"Pulumi.{stack}.yaml").write_text(text)

    @property
    def state(self) -> Folder:
        """Its `.keepwarm` folder."""
        return Folder(self.folder)

    def run(
        self,
        *arguments: str,
        program: Callable[[], Any] | None = None,
        environment: Mapping[str, str] | None = None,
        stack: str = "local",
        skip_preview: bool = True,
    ) -> Result:
        """Run the CLI; a CliError of ours is raised as it is."""
        log = self.folder / "events.json"
        out = self.folder / "output.txt"
        log.unlink(missing_ok=True)
        asked = arguments[0]
        extra = ["--non-interactive", "--color=never"]
        if asked in ("up", "preview", "refresh", "destroy", "import"):
            extra += ["--event-log", str(log), "--stack", stack]
        if asked in ("up", "refresh", "destroy") and "--preview-only" not in arguments:
            extra += ["--yes", *(["--skip-preview"] if skip_preview else [])]
        if asked == "import":
            extra += ["--yes"]
        notes: list[str] = []
        started = time.perf_counter()
        with out.open("w") as target:
            status = command.run(
                self.folder,
                [*arguments, *extra],
                environment={**self.environment, "PULUMI_DEBUG_COMMANDS": "true", **(environment or {})},
                program=program or self.program,
                say=notes.append,
                output=target,
            )
        return Result(status, out.read_text(), time.perf_counter() - started, operations_of(log), notes)

    def up(self, program: Callable[[], Any] | None = None, *arguments: str, **options: Any) -> Result:
        """Run `up`, which must succeed."""
        return self.must("up", *arguments, program=program, **options)

    def must(self, *arguments: str, **options: Any) -> Result:
        """Run, and fail the test with the CLI's output when it does."""
        result = self.run(*arguments, **options)
        assert result.status == 0, result.text
        return result

    def endpoint(self) -> str:
        """Endpoint of the cloud daemon."""
        found = cloud_endpoint(self.state)
        assert found is not None, "the cloud must run"
        return found

    def boto(self, service: str) -> Any:
        """A client of the cloud."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint(),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def inventory(self) -> dict[str, Any]:
        """What the cloud has."""
        with urlopen(f"{self.endpoint()}/_keepwarm/inventory") as answer:
            return dict(json.loads(answer.read()))

    def checkpoint(self, stack: str = "local") -> dict[str, Any]:
        """The engine's state."""
        return state.checkpoint(self.state, self.name, stack)

    def resource(self, name: str, stack: str = "local") -> dict[str, Any]:
        """One resource of the state, by logical name."""
        found = [r for r in self.checkpoint(stack)["resources"] if r["urn"].endswith(f"::{name}")]
        assert len(found) == 1, [r["urn"] for r in self.checkpoint(stack)["resources"]]
        return dict(found[0])

    def close(self) -> None:
        """Stop the daemons and remove the state."""
        if self.state.root.exists():
            by_hand.local_reset(self.folder)
        shutil.rmtree(self.folder / "home", ignore_errors=True)


def operations_of(log: Path) -> dict[str, list[str]]:
    """Read an event log: URN -> operations in order, without `same`."""
    found: dict[str, list[str]] = {}
    if not log.exists():
        return found
    for line in log.read_text().splitlines():
        event = json.loads(line)
        metadata = (event.get("resourcePreEvent") or {}).get("metadata")
        if metadata and metadata["op"] not in ("same", "refresh", "read-discard"):
            operations = found.setdefault(metadata["urn"], [])
            if metadata["op"] not in operations:
                operations.append(metadata["op"])
    return found
