"""Builds the C kernel into the wheel where there is a compiler, and continues without it where there is none."""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNEL = Path(__file__).parent / "keepwarm_planner" / "kernel"


class KernelHook(BuildHookInterface):
    """The simulator also runs without the kernel, more slowly: a failed compilation is a warning, never an error."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and marks a wheel that carries the library as one for this platform."""
        spec = importlib.util.spec_from_file_location("keepwarm_kernel_build", KERNEL / "build.py")
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        for stale in KERNEL.glob("_kernel_*.so"):
            if stale.name != build.library_name():
                stale.unlink()
        try:
            build.build(KERNEL / build.library_name())
        except (build.BuildError, OSError) as e:
            self.app.display_warning(f"keepwarm-planner: C kernel not built, the Python kernel will run: {e}")
            return
        if version != "editable":
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
