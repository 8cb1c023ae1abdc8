"""A project of the user's own: this repository's program and functions in a folder that a test may break."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class Project:
    """A copy of the program, its functions and stack files; what is built from them is kept in this repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("infra", "functions", "stacks"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        # Layers and the image cost a minute once; broken handlers are small and get a digest of their own.
        (ROOT / "build").mkdir(exist_ok=True)
        (folder / "build").symlink_to(ROOT / "build")
        self.out = folder / "report"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()

    def handler(self, function: str, source: str) -> None:
        """Replace the entry of a function."""
        (self.folder / "functions" / function / "handler.py").write_text(source)

    def settings(self, **sections: Any) -> None:
        """Change settings of the local stack, section by section; None removes one."""
        path = self.folder / "stacks" / "Pulumi.local.yaml"
        document = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            kept = document["config"].get(f"keepwarm:{section}")
            merged = {**kept, **values} if isinstance(kept, dict) and isinstance(values, dict) else values
            document["config"][f"keepwarm:{section}"] = merged
            if merged is None:
                del document["config"][f"keepwarm:{section}"]
        path.write_text(yaml.safe_dump(document))

    def region(self, name: str) -> None:
        """Move the local stack to another region."""
        path = self.folder / "stacks" / "Pulumi.local.yaml"
        document = yaml.safe_load(path.read_text())
        document["config"]["aws:region"] = name
        path.write_text(yaml.safe_dump(document))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `keepwarm` in this project, with a temporary folder that can be looked at afterwards."""
        return subprocess.Popen(
            [sys.executable, "-m", "keepwarm_cli", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )

    def keepwarm(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run `keepwarm` in this project to its end."""
        running = self.start(*words)
        try:
            out, err = running.communicate(timeout=timeout_s)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
        return subprocess.CompletedProcess(running.args, running.returncode, out, err)

    def report(self) -> dict[str, Any]:
        """What the last run wrote."""
        found: dict[str, Any] = json.loads((self.out / "report.json").read_text())
        return found

    def left(self) -> list[str]:
        """Files of the cloud, and processes that still name this project's temporary folder."""
        found = [str(path) for path in self.temporary.glob("keepwarm*")]
        needle = os.fsencode(self.temporary)
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if needle in environ.read_bytes():
                    found.append(f"process {environ.parent.name}")
            except OSError:
                continue
        return found
