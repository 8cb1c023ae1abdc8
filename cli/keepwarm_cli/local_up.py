"""`keepwarm local up`: a deployed stack that stays until Ctrl-C."""

import contextlib
import json
from contextlib import ExitStack
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.text import Text

from keepwarm_cli.cloud_process import CloudProcess
from keepwarm_cli.deployed_stack import Stack, Times
from keepwarm_cli.errors import left_behind
from keepwarm_cli.interrupts import Interrupts
from keepwarm_cli.local_commands import StackOptions


def up(options: StackOptions) -> int:
    """Keep the stack running until Ctrl-C; the live log is the journal."""
    console = Console(stderr=options.json, highlight=False)
    times = Times()
    with Interrupts() as interrupts, ExitStack() as ending:
        stack = Stack(options.stack, options.port, console, times, interrupts, ending)
        deployed = stack.deploy()
        told = {
            "endpoint": stack.cloud.endpoint(),
            "outputs": deployed.outputs,
            "resources": deployed.resources,
        }
        if options.json:
            print(json.dumps(told), flush=True)
        else:
            console.print(f"endpoint [bold]{told['endpoint']}[/]; stop with Ctrl-C")
            console.print_json(json.dumps(deployed.outputs))
        with stack.cloud.in_use():
            with contextlib.suppress(KeyboardInterrupt):
                _log_journal(stack.cloud, console)
            left = stack.tear_down()
        left += stack.stop()
    for what in left:
        console.print(left_behind(what), style="red", markup=False)
    return 1 if left else 0


def _log_journal(cloud: CloudProcess, console: Console) -> None:
    since = 0
    while True:
        for entry in cloud.get(f"journal?since={since}&wait_s=5", timeout_s=35):
            since = entry["sequence"]
            at = datetime.fromtimestamp(entry["at_s"], UTC).strftime("%H:%M:%S.%f")[:-3]
            facts = " ".join(
                f"{k}={v}" for k, v in entry.items() if k not in {"sequence", "at_s", "kind", "event"}
            )
            console.print(Group(Text(f"{at} {entry['kind']:<12} {facts}", overflow="ellipsis", no_wrap=True)))
