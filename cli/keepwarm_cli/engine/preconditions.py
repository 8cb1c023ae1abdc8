"""What must hold before the CLI may run."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from keepwarm_cli.engine.pulumi_process import PulumiCli
from keepwarm_cli.engine.request import Request
from keepwarm_cli.engine.state import checkpoint
from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError


@contextlib.contextmanager
def one_change_at_a_time(folder: Folder, request: Request) -> Iterator[None]:
    """Hold the project's lock; a second change is refused at once, naming the holder.

    Raises:
        CliError: KW671.
    """
    with folder.lock.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise CliError(
                "KW671",
                f"stack '{request.stack}'",
                got=f"a second change while {holder} is running",
                allowed="one at a time",
                fix="wait for it to end, or end that process; the lock goes with it",
            ) from None
        handle.truncate(0)
        handle.write(f"`keepwarm pulumi -- {request.command}` (process {os.getpid()})")
        handle.flush()
        yield


def refuse_other_project(folder: Folder, name: str) -> None:
    """Refuse a state folder that another project made.

    Raises:
        CliError: KW675.
    """
    stacks = folder.backend / ".pulumi" / "stacks"
    others = (
        sorted(p.name for p in stacks.iterdir() if p.is_dir() and p.name != name) if stacks.is_dir() else []
    )
    if others and not (stacks / name).exists():
        raise CliError(
            "KW675",
            f"state folder {folder.root}",
            got=f"the state of project '{others[0]}'",
            allowed=f"that of '{name}'",
            because="the project was renamed or the folder copied",
            fix=f"`keepwarm local reset`, or give Pulumi.yaml the name '{others[0]}' again",
        )


def refuse_lost_cloud(cli: PulumiCli, request: Request) -> None:
    """Refuse a state that outlived its cloud: the cloud lives in memory, so the state describes nothing.

    Raises:
        CliError: KW678.
    """
    kept = checkpoint(cli.folder, cli.project, request.stack).get("resources") or []
    custom = [r for r in kept if r.get("custom") and str(r.get("type", "")).startswith("aws:")]
    if custom and request.command in ("up", "update", "preview", "pre", "import"):
        raise CliError(
            "KW678",
            f"stack '{request.stack}'",
            got=f"a state with {len(custom)} resources and an embedded cloud that has ended",
            allowed="both or neither",
            because="the cloud keeps its resources in memory",
            fix="`keepwarm local reset`, or `keepwarm pulumi -- refresh --yes` to empty the state",
        )


def ensure_stack(cli: PulumiCli, request: Request) -> None:
    """Make a stack that has a stack file and no state yet.

    Raises:
        CliError: KW674, it has neither; KW676, the passphrase is wrong.
    """
    folder = cli.folder
    if (folder.backend / ".pulumi" / "stacks" / cli.project / f"{request.stack}.json").exists():
        return
    files = sorted((folder.work / "stacks").glob("Pulumi.*.yaml"))
    known = [p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in files]
    if request.stack not in known:
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem="does not exist",
            allowed=", ".join(known) or "none yet",
            fix=(
                f"write stacks/Pulumi.{request.stack}.yaml, or `keepwarm pulumi -- stack init "
                f"{request.stack}`"
            ),
        )
    if request.command not in ("up", "update", "preview", "pre", "import"):
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem="has no state",
            allowed="a stack that was deployed",
            fix="`keepwarm pulumi -- up`",
        )
    done = cli.ask("stack", "init", request.stack, "--color=never")
    if done.returncode != 0:
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem=f"cannot be made: {' '.join(done.stderr.split())}",
            fix="do what Pulumi says, or `keepwarm local reset`",
        )


def explain_failure(cli: PulumiCli, request: Request) -> None:
    """Find out whether a failure has a cause that the CLI words less clearly.

    Raises:
        CliError: KW676, the passphrase is not the one the state was made with.
    """
    asked = cli.ask("stack", "output", "--show-secrets", "--json", "--stack", request.stack)
    if asked.returncode != 0 and "incorrect passphrase" in asked.stderr:
        raise CliError(
            "KW676",
            f"stack '{request.stack}'",
            got="a passphrase that can't decrypt its secrets",
            allowed="the one it was created with",
            fix=(
                "set PULUMI_CONFIG_PASSPHRASE to that (unset it if there was none), or `keepwarm local reset`"
            ),
        )
