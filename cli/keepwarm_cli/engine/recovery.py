"""Settles what a killed run left open in the cloud."""

import sys
from typing import Any

from keepwarm_cli.engine.program import serve_program
from keepwarm_cli.engine.pulumi_process import PulumiCli
from keepwarm_cli.engine.state import checkpoint, pending, plain
from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError


def recover(cli: PulumiCli, stack: str, endpoint: str) -> None:
    """Settle creations that a killed run left open: what the cloud made and no state knows is removed again.

    Then `pulumi refresh --clear-pending-creates`, the documented way, forgets them, and the next step makes them anew.
    (`--import-pending-creates` only marks an operation in CLI v3.259 and adopts nothing.)

    Raises:
        CliError: KW679, something could not be settled.
    """
    from keepwarm_localcloud.engine.provider.creations import Creation, read_creations
    from keepwarm_localcloud.pulumi_types.aws import Aws
    from keepwarm_localcloud.pulumi_types.errors import ResourceError

    folder = cli.folder
    deployment = checkpoint(folder, cli.project, stack)
    unfinished = pending(deployment)
    begun = read_creations(folder.creations)
    noted = {c.urn for c in begun}
    begun += [
        Creation(r["urn"], r["type"], plain(r.get("inputs") or {}))
        for r in unfinished
        if r["urn"] not in noted
    ]
    if not begun:
        return
    known = {str(r["id"]) for r in deployment.get("resources") or [] if r.get("id")}
    aws = Aws(endpoint)
    try:
        for creation in begun:
            found = _unrecorded(aws, creation, known)
            if found is not None:
                _remove_half(aws, creation, found)
                cli.say(
                    f"{creation.urn}: {found}, which a killed run or a lost answer left and no state knows, was removed"
                )
    except ResourceError as error:
        raise CliError("KW679", "recovery after a killed run", problem=str(error)) from error
    finally:
        aws.close()
    if unfinished:
        _clear_pending(cli, stack, len(unfinished))
    folder.creations.unlink(missing_ok=True)


def open_creations(folder: Folder) -> bool:
    """Whether the provider noted a creation whose end it does not know."""
    from keepwarm_localcloud.engine.provider.creations import read_creations

    return any(not creation.id for creation in read_creations(folder.creations))


def _unrecorded(aws: Any, creation: Any, known: set[str]) -> str | None:
    """Id of what a begun creation made, unless the state knows it or it does not exist."""
    from keepwarm_localcloud.pulumi_types import table
    from keepwarm_localcloud.pulumi_types.locate import locate

    inputs = {k: v for k, v in creation.inputs.items() if k != "__defaults"}
    if not creation.id:
        found = locate(creation.type, aws, inputs, frozenset(known))
        return None if found in known else found
    if creation.id in known:
        return None
    return creation.id if table.read(creation.type, creation.urn, aws, creation.id, {}, inputs) else None


def _clear_pending(cli: PulumiCli, stack: str, count: int) -> None:
    arguments = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", stack]
    cli.say(f"a killed run left {count} creation(s) open; running: pulumi {' '.join(arguments)}")
    # The program is not run by a refresh; serving one spares the search for a language host.
    with serve_program(lambda: None) as address:
        arguments += ["--non-interactive", f"--client={address}"]
        status = cli.call(arguments, output=cli.output or sys.stderr.fileno())
    if status != 0:
        raise CliError(
            "KW679",
            "recovery after a killed run",
            problem=f"the refresh ended with status {status}",
            fix="see its lines above, then run the command again",
        )


def _remove_half(aws: Any, creation: Any, id_: str) -> None:
    from keepwarm_localcloud.pulumi_types import table

    inputs = {k: v for k, v in creation.inputs.items() if k != "__defaults" and v is not None}
    found = table.read(creation.type, creation.urn, aws, id_, {}, inputs)
    table.delete(creation.type, creation.urn, aws, id_, inputs, {**inputs, **found[2]} if found else inputs)
