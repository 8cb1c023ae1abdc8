"""A copy of components/ alone installs into a clean environment, imports, and hosts every component.

This is what `pulumi package add <repository>/components` does with that folder. Needs the package index.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keepwarm
from keepwarm.__main__ import COMPONENTS

ROOT = Path(keepwarm.__file__).parent.parent


@pytest.mark.slow
def test_given_a_copy_of_the_folder_when_installed_in_a_clean_environment_then_it_hosts_every_component(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "components"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "UV_PROJECT"))}
    uv = shutil.which("uv")
    if uv is None:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, env=clean)
        install = [str(python), "-m", "pip", "install", "--quiet", str(copy)]
    else:
        subprocess.run(
            [uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True, env=clean
        )
        install = [uv, "pip", "install", "--quiet", "--python", str(python), str(copy)]
    subprocess.run(install, check=True, cwd=tmp_path, env=clean)

    script = """
import json, keepwarm
from keepwarm.__main__ import components
from keepwarm.durable_workflow import DOCUMENT_WORKFLOW
from keepwarm.service.hosts import SETUP
from pulumi.provider.experimental.component import ComponentProvider
schema = json.loads(ComponentProvider(components(), "keepwarm", None, "0.1.0").schema)
files = [DOCUMENT_WORKFLOW.is_file(), SETUP.is_file()]
print(json.dumps({"file": keepwarm.__file__, "resources": sorted(schema["resources"]), "files": files}))
"""
    ran = subprocess.run(
        [str(python), "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path, env=clean
    )
    told = json.loads(ran.stdout)
    assert Path(told["file"]).is_relative_to(environment), "the copy, not this checkout"
    assert told["resources"] == sorted(f"keepwarm:index:{name}" for name in COMPONENTS)
    assert told["files"] == [True, True], "templates are part of the package"


def test_given_the_plugin_file_when_read_then_it_asks_for_pip_and_an_environment_of_its_own() -> None:
    text = (ROOT / "PulumiPlugin.yaml").read_text()
    assert "toolchain: pip" in text
    assert "virtualenv: .venv" in text
