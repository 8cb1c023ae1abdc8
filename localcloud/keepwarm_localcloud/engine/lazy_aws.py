"""Imports of pulumi_aws by the class instead of by the service.

`pulumi_aws.ec2` imports 150 modules when one class of it is touched; the services of the example stack together take
longer to import than the stack takes to deploy. `install` puts an import hook in front that gives each service package
a PEP 562 `__getattr__`: a name loads the one module that defines it. A name that the rule does not find loads the whole
package as before, so nothing changes but the time. The modules of output types load on first use for the same reason.

Only the in-process driver uses this; with the real engine the program's process is the language host's.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = "pulumi_aws"
_STAR = re.compile(r"^from \.(\w+) import \*$", re.MULTILINE)
_SUFFIXES = ("argsdict", "args", "state", "result", "output")
_PREFIXES = ("awaitable",)


class _ServiceLoader(importlib.abc.Loader):
    """Executes a service package by name instead of all at once."""

    def __init__(self, eager: importlib.machinery.SourceFileLoader) -> None:
        self._eager = eager

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave the module object to the import system."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Index the modules of the package; load none of them."""
        source = Path(self._eager.path).read_text(encoding="utf-8")
        parts = _STAR.findall(source)
        by_name = {part.replace("_", ""): part for part in parts if not part.startswith("_")}
        shared = [part for part in ("_enums", "_inputs") if part in parts]
        eager = self._eager

        def get(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            # `from . import outputs` asks the package first and imports the module only when that fails.
            if name == "outputs" or name in shared:
                return importlib.import_module(f"{module.__name__}.{name}")
            candidate = _module_of(name, by_name)
            for part in [candidate, *shared] if candidate else shared:
                found = importlib.import_module(f"{module.__name__}.{part}")
                # As `from .part import *` does, which also puts the function over the module of the same name.
                module.__dict__.update({public: getattr(found, public) for public in found.__all__})
                if name in found.__all__:
                    return getattr(found, name)
            # Unusual name: what the package itself would do, once.
            module.__dict__.pop("__getattr__", None)
            eager.exec_module(module)
            return getattr(module, name)

        module.__dict__["__getattr__"] = get


def _module_of(name: str, by_name: dict[str, str]) -> str | None:
    """Module that defines a class or function, by how the SDK names its files."""
    key = name.replace("_", "").lower()
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    if key in by_name:
        return by_name[key]
    for suffix in _SUFFIXES:
        if key.endswith(suffix) and key.removesuffix(suffix) in by_name:
            return by_name[key.removesuffix(suffix)]
    return None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds service packages and output modules of pulumi_aws; leaves everything else to the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Give service packages our loader, and output modules a lazy one."""
        parts = fullname.split(".")
        if parts[0] != ROOT or len(parts) not in {2, 3}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return spec
        if len(parts) == 2 and spec.submodule_search_locations is not None:
            spec.loader = _ServiceLoader(spec.loader)
        elif len(parts) == 3 and parts[2] == "outputs":
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def install() -> None:
    """Put the hook in place; services that are loaded already stay as they are. Idempotent."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
