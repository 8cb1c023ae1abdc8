"""Builds functions from the command line, for programs in other languages and to see sizes.

`python -m keepwarm_build FOLDER... --out DIR` puts `NAME.zip` and, where there are dependencies,
`NAME-dependencies.zip` into DIR and prints the size ledger.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from keepwarm_build import Bundle, BundleError, bundle, ledger


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and print the ledger: 0 fine, 1 it can't be built."""
    options = argparse.ArgumentParser(
        prog="python -m keepwarm_build", description="Build Lambda functions from folders."
    )
    options.add_argument("folders", nargs="+", metavar="FOLDER", help="sources of a function")
    options.add_argument("--out", type=Path, help="copy the zips into this folder")
    options.add_argument(
        "--handler", default="handler.handler", help="module.function (default: %(default)s)"
    )
    options.add_argument("--runtime", help="such as python3.12 (default: this interpreter's)")
    options.add_argument("--architecture", help="x86_64, arm64 or host (default: x86_64 for lambda)")
    options.add_argument("--target", choices=("lambda", "host"), default="lambda", help="where it will run")
    options.add_argument("--cache", type=Path, help="folder that keeps results (default: the user's cache)")
    options.add_argument("--json", action="store_true", help="print the ledger as JSON")
    chosen = options.parse_args(arguments)
    built: dict[str, Bundle] = {}
    try:
        for folder in chosen.folders:
            made = bundle(
                folder,
                handler=chosen.handler,
                runtime=chosen.runtime,
                architecture=chosen.architecture,
                target=chosen.target,
                cache=chosen.cache,
            )
            built[made.name] = made
            if chosen.out is not None:
                _copy(made, chosen.out)
    except BundleError as fault:
        print(fault, file=sys.stderr)
        return 1
    rows = ledger.rows(built)
    print(json.dumps({"functions": rows}, indent=1) if chosen.json else "\n".join(ledger.table(rows)))
    return 0


def _copy(made: Bundle, out: Path) -> None:
    """Put the zips under their plain names, each whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, path in ((made.name, made.path), *((layer.name, layer.path) for layer in made.layers)):
            partial = out / f".{name}.zip.{os.getpid()}"
            try:
                shutil.copyfile(path, partial)
                partial.replace(out / f"{name}.zip")
            finally:
                partial.unlink(missing_ok=True)
    except OSError as fault:
        raise BundleError(
            "KW196",
            str(fault.filename or out),
            fault.strerror or str(fault),
            allowed="a folder that can be written",
            because="the zips are copied there",
            fix="free space, or name another folder with --out",
        ) from fault


if __name__ == "__main__":
    sys.exit(main())
