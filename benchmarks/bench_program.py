"""What declaring a stack with components costs over declaring the same resources raw, in one run, under mocks.

The raw program is made from what the components declared: the same resources, inputs and references (a value that is
another resource's ARN, name or address is passed as its `Output`; a text or policy document around such values is one
`apply`, the cheapest way to write it; what a resource waits for beyond its references, and what is ignored, protected
or retained, is said as the components say it), without components and without checks. Both run against the same fake
engine, and what reading the recording takes is no part of the measurement.

    python benchmarks/bench_program.py [--json] [--rounds N]
"""

import argparse
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
import pulumi_aws as aws

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keepwarm as kw
from tests.support.deployed import DEFAULT_VPC, IDENTITY, Deployed, answered, deploy
from tests.support.samples import IMAGE, code, seed

REFERENCES = ("arn", "url", "name", "bucket", "id")


def stack(name: str) -> Callable[[], None]:
    """The whole stack by components."""

    def program() -> None:
        kw.ServerlessRuntime(
            name,
            {
                "functions": {
                    "classify": {"code": code(), "loads_model": "magika"},
                    "extract": {"code": code()},
                    "ocr": {"code": code(), "calls_service": True},
                    "enrich": {"code": code()},
                    "publish": {"code": code(), "guards_effects": True},
                },
                "entry": "classify",
                "models": {"models": [seed()]},
                "service": {"image": IMAGE, "max_tasks": 2, "network_path": kw.NetworkPath.ENDPOINTS},
                "warm_pool": {"environments": 2, "max_environments": 5},
                "workflow": {"deadline_s": 1800},
                "budgets_ms": {"total": 2000},
            },
        )

    return program


class Ref(NamedTuple):
    """A property of a resource that was made before."""

    at: int
    key: str


class Document(NamedTuple):
    """A policy document with references in it."""

    body: Any


class Text(NamedTuple):
    """A string with references in it."""

    parts: list[Any]


def raw(recorded: Deployed) -> Callable[[], None]:  # noqa: C901 - one branch per kind of wiring
    """The same resources without components, wired by outputs, as one would write them by hand.

    What a resource needs beside its inputs to deploy and to be kept as the stack's does is written too: what it waits
    for beyond its references, changes that are ignored, whether it outlives the stack.

    Everything that a writer has in front of him is worked out here, before the clock runs: classes, Python's names of
    properties, literals. What is left to the program is what a program has to do: make resources, `Output`s of
    policy documents and concatenated names.
    """
    entries = [r for r in recorded.resources if r.custom]
    known: dict[str, tuple[int, str]] = {}
    for index, entry in enumerate(entries):
        answer = {**answered(entry.typ, entry.name, entry.inputs), **entry.inputs, "id": f"{entry.name}-id"}
        for key in REFERENCES:
            value = answer.get(key)
            if isinstance(value, str) and len(value) > 6 and hasattr(class_of(entry.typ), key):
                known.setdefault(value, (index, key))
    splitter = re.compile("(" + "|".join(re.escape(v) for v in sorted(known, key=len, reverse=True)) + ")")

    refers: list[set[int]] = [set() for _ in entries]

    def plan(value: Any, index: int) -> tuple[bool, Any]:
        """A value as (it is made at run time, literal or maker)."""
        if isinstance(value, dict):
            parts = {key: plan(inner, index) for key, inner in value.items()}
            if not any(made for made, _ in parts.values()):
                return False, {key: inner for key, (_, inner) in parts.items()}
            return True, lambda made: {k: v(made) if late else v for k, (late, v) in parts.items()}
        if isinstance(value, list):
            items = [plan(inner, index) for inner in value]
            if not any(late for late, _ in items):
                return False, [inner for _, inner in items]
            return True, lambda made: [v(made) if late else v for late, v in items]
        if not isinstance(value, str):
            return False, int(value) if isinstance(value, float) and value.is_integer() else value
        if value in known and known[value][0] < index:
            at, key = known[value]
            refers[index].add(at)
            return True, lambda made: getattr(made[at], key)
        pieces = [plan(p, index) if p in known else (False, p) for p in splitter.split(value) if p]
        if not any(late for late, _ in pieces):
            return False, value

        def text(made: list[Any]) -> pulumi.Output[str]:
            # The cheapest of the ways to write a policy document or a name: one `apply` over what it refers to.
            values = [v(made) if late else v for late, v in pieces]
            referred = {id(v): v for v in values if isinstance(v, pulumi.Output)}

            def filled(resolved: Any) -> str:
                known = dict(zip(referred, resolved, strict=True))
                return "".join(known.get(id(v), v) for v in values)

            if len(referred) == 1:
                return next(iter(referred.values())).apply(lambda only: filled([only]))
            return pulumi.Output.all(*referred.values()).apply(filled)

        return True, text

    plans = [
        (class_of(entry.typ), entry.name, {snake(k): plan(v, i) for k, v in entry.inputs.items()})
        for i, entry in enumerate(entries)
    ]

    at_urn = {recorded.registered[e.typ, e.name].urn: i for i, e in enumerate(entries)}

    def kept(index: int) -> tuple[list[int], dict[str, Any]]:
        """What a resource waits for beyond its references, by index, and its other options.

        A reference whose text says too little to be found again (an alias called ``live``) is one of these.
        """
        entry = entries[index]
        told = recorded.registered[entry.typ, entry.name].options
        waits = sorted({at_urn[urn] for urn in told.dependencies if urn in at_urn} - refers[index])
        options: dict[str, Any] = {}
        if told.ignoreChanges:
            options["ignore_changes"] = list(told.ignoreChanges)
        if told.retainOnDelete:
            options["retain_on_delete"] = True
        if told.protect:
            options["protect"] = True
        return waits, options

    options = [kept(index) for index in range(len(entries))]
    in_vpc = any(entry.typ == "aws:ec2/securityGroup:SecurityGroup" for entry in entries)

    def program() -> None:
        aws.get_caller_identity_output()
        aws.get_region_output()
        aws.get_partition_output()
        if in_vpc:
            vpc = aws.ec2.get_vpc_output(default=True).id
            aws.ec2.get_subnets_output(filters=[{"name": "vpc-id", "values": [vpc]}])
            aws.ec2.get_route_tables_output(vpc_id=vpc)
        made: list[Any] = []
        for (cls, name, inputs), (waits, more) in zip(plans, options, strict=True):
            opts = None
            if waits or more:
                opts = pulumi.ResourceOptions(depends_on=[made[at] for at in waits] or None, **more)
            given = {key: v(made) if late else v for key, (late, v) in inputs.items()}
            made.append(cls(name, opts=opts, **given))

    return program


def class_of(token: str) -> Any:
    """Class of a type token such as `aws:s3/bucket:Bucket`."""
    package, name = token.split(":")[1].split("/")[0], token.split(":")[2]
    return getattr(getattr(aws, {"lambda": "lambda_"}.get(package, package)), name)


def snake(key: str) -> str:
    """Python's name of a property."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower()


def repeated(programs: list[Callable[[], None]]) -> Callable[[], None]:
    """Several programs as one."""

    def program() -> None:
        for each in programs:
            each()

    return program


def cpu_s(program: Callable[[], None]) -> float:
    """CPU time of one evaluation, in seconds.

    A full collection walks all of pulumi-aws, which costs as much as half an evaluation and strikes one side or the
    other by chance; what was there before is frozen, so that each side pays for its own objects only.
    """
    gc.collect()
    gc.freeze()
    start = time.process_time()
    deploy(program, lookups={**IDENTITY, **DEFAULT_VPC})
    spent = time.process_time() - start
    gc.unfreeze()
    return spent


def compare(names: list[str], rounds: int) -> dict[str, Any]:
    """Both programs in turns, so that the machine's mood meets both."""
    with_components = repeated([stack(name) for name in names])
    recorded = [deploy(stack(name), lookups=DEFAULT_VPC) for name in names]
    without = repeated([raw(each) for each in recorded])
    alone = deploy(without, lookups=DEFAULT_VPC)
    same = alone.names() == sorted(n for each in recorded for n in each.names()) and all(
        set(told.dependencies) <= set(alone.registered[key].dependencies)
        for each in recorded
        for key, told in each.registered.items()
        if told.options.custom
    )
    if not same:
        raise SystemExit("the raw program declares other resources: the comparison would mean nothing")
    pairs = [(cpu_s(with_components), cpu_s(without)) for _ in range(rounds)]
    components, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "resources": sum(len(each.names()) for each in recorded),
        "components_cpu_s": round(components, 4),
        "raw_cpu_s": round(plain, 4),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
        "rounds": rounds,
    }


SERVICES = (
    "appautoscaling autoscaling cloudwatch dynamodb ec2 ecs iam lambda_ s3 servicediscovery sfn sns sqs vpc"
)
IMPORTS = f"""
import time, pulumi, pulumi_aws
for service in "{SERVICES}".split():
    getattr(getattr(pulumi_aws, service), "any", None)
before = time.process_time()
import keepwarm
for name in keepwarm.__all__:
    getattr(keepwarm, name)
print(time.process_time() - before)
"""
"""A raw program has imported pulumi-aws and the services it uses; pulumi-aws loads these late."""


def import_ms(rounds: int) -> float:
    """CPU time that importing everything of the package adds, in ms, with bytecode as an installed package has it."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache

        def once() -> float:
            command = [sys.executable, "-c", IMPORTS]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            return float(done.stdout) * 1000

        once()
        return round(statistics.median(once() for _ in range(rounds)), 1)


def main() -> None:
    """Measure the full stack, about a thousand resources, and the import."""
    parser = argparse.ArgumentParser(description="Components against raw resources, under mocks.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of evaluations (default 7)")
    given = parser.parse_args()
    results = {
        "full stack": compare(["stack"], given.rounds),
        "thousand resources": compare([f"stack{n}" for n in range(9)], max(given.rounds // 2, 3)),
    }
    imports = import_ms(given.rounds)
    if given.json:
        print(json.dumps({**results, "import_ms": imports}, indent=1))
        return
    for name, row in results.items():
        print(
            f"{name}: {row['resources']} resources, components {row['components_cpu_s']:.3f} s CPU, "
            f"raw {row['raw_cpu_s']:.3f} s, ratio {row['ratio']:.2f} (must 1.25, goal 1.05)"
        )
    print(f"import: {imports:.1f} ms over pulumi and pulumi-aws (goal 30)")


if __name__ == "__main__":
    main()
