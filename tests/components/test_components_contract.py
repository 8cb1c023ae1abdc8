"""What holds for every component: its surface, its identity, its children, its permissions, its silence about config.

Proved on the inputs that a fake engine receives. Not proved: that AWS accepts them (the embedded cloud and the engine
tests deploy the same components).

Goldens are rewritten with `KEEPWARM_GOLDEN=write`; review the difference: a changed URN replaces a resource.
"""

import ast
import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.provider.experimental.component import ComponentProvider

import keepwarm
from keepwarm import errors
from keepwarm.__main__ import COMPONENTS, components
from keepwarm.iam import grants
from keepwarm.phases import PHASES
from keepwarm_runtime import phases as runtime_phases
from tests.support.deployed import DEFAULT_VPC, Deployed, deploy
from tests.support.samples import PROGRAMS, VARIANTS

SOURCE = Path(keepwarm.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
EVERYTHING = {**PROGRAMS, **VARIANTS}


@functools.cache
def run(name: str, *, preview: bool = False) -> Deployed:
    """One deployment per example: the tests only read what it declared."""
    return deploy(EVERYTHING[name], lookups=DEFAULT_VPC, preview=preview)


def compare(file: str, found: str) -> None:
    path = GOLDEN / file
    if os.environ.get("KEEPWARM_GOLDEN") == "write":
        path.write_text(found)
    assert found == path.read_text(), f"{path.name} differs; rewrite it with KEEPWARM_GOLDEN=write and review"


def test_given_the_package_when_listed_then_every_public_name_loads() -> None:
    assert sorted(keepwarm._MODULES) == sorted(keepwarm.__all__)
    for name in keepwarm.__all__:
        assert getattr(keepwarm, name) is not None
    assert set(PROGRAMS) == set(COMPONENTS)


def test_given_the_public_names_when_hosted_then_every_component_and_nothing_else_is() -> None:
    public = {name: getattr(keepwarm, name) for name in keepwarm.__all__}
    resources = {
        name
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, pulumi.ComponentResource)
    }
    assert set(COMPONENTS) == resources
    assert [component.__name__ for component in components()] == list(COMPONENTS)


def test_given_an_unknown_name_when_imported_then_it_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'keepwarm' has no attribute 'Nothing'"):
        _ = keepwarm.Nothing


def test_given_limits_when_imported_then_pulumi_is_not_loaded() -> None:
    script = "import sys, keepwarm.limits; print(sorted(m for m in sys.modules if m.startswith('pulumi')))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_given_all_components_when_analysed_then_the_schema_is_the_golden_one() -> None:
    schema = json.loads(str(ComponentProvider(components(), "keepwarm", None, "0.1.0").schema))
    assert sorted(schema["resources"]) == sorted(f"keepwarm:index:{name}" for name in COMPONENTS)
    compare("schema.json", json.dumps(schema, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_given_a_component_when_deployed_then_every_child_keeps_its_urn(name: str) -> None:
    seen = run(name)
    urns = [urn.split("::", 2)[2] for urn in seen.urns if "$aws:" in urn or urn.startswith("aws:")]
    custom = [r for r in seen.resources if r.custom]
    assert len(urns) == len(custom)
    compare(f"urns_{name}.txt", "\n".join(urns) + "\n")


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_given_a_component_when_deployed_then_every_child_is_its_own(name: str) -> None:
    seen = run(name)
    roots = [r.name for r in seen.resources if not r.custom and r.typ.startswith("keepwarm:")]
    outermost = roots[0]
    for (kind, child), told in seen.registered.items():
        if kind.startswith("aws:"):
            assert "keepwarm:index:" in told.parent, f"{child} has the parent {told.parent}"
            assert child.startswith(f"{outermost}-"), child


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_given_a_component_when_deployed_then_it_registers_the_outputs_it_declares(name: str) -> None:
    component = getattr(keepwarm, name)
    seen = run(name)
    root = next(r.name for r in seen.resources if r.typ == f"keepwarm:index:{name}")
    declared = set(component.__annotations__)
    outputs = seen.outputs[f"keepwarm:index:{name}::{root}"]
    assert set(outputs) == declared
    assert all(value is not None for value in outputs.values()), outputs


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_given_a_component_when_previewed_then_unknown_values_break_nothing(name: str) -> None:
    assert run(name, preview=True).names() == run(name).names()


def documents(seen: Deployed) -> list[tuple[str, dict[str, Any]]]:
    """Every IAM document of a program: the property's place and the parsed text."""
    found = []
    for resource in seen.resources:
        for key, value in resource.inputs.items():
            if isinstance(value, str) and '"Statement"' in value:
                found.append((f"{resource.name}.{key}", json.loads(value)))
    return found


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_given_a_component_when_deployed_then_no_document_grants_a_wildcard(name: str) -> None:
    for place, document in documents(run(name)):
        for statement in document["Statement"]:
            if statement["Effect"] != "Allow" or place == "data-key.policy":
                continue  # in a key's policy "*" is the key; test_components_key reads it
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if "*" in action or "?" in action], place
            assert statement.get("Principal") != "*", place
            if "Resource" not in statement:
                continue
            resources = statement["Resource"]
            resources = resources if isinstance(resources, list) else [resources]
            if "*" in resources:
                assert set(actions) <= set(grants.UNAVOIDABLE), f"{place}: {actions} on *"
            else:
                assert all(resource.startswith("arn:") for resource in resources), f"{place}: {resources}"


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_given_a_service_role_when_declared_then_only_this_account_can_use_it(name: str) -> None:
    for place, document in documents(run(name)):
        if not place.endswith("assumeRolePolicy"):
            continue
        (statement,) = document["Statement"]
        if statement["Principal"] == {"Service": "ec2.amazonaws.com"}:
            continue  # EC2 sends no source account
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "111122223333"}}, place


def test_given_the_unavoidable_wildcards_when_listed_then_each_names_its_aws_page() -> None:
    for action, page in grants.UNAVOIDABLE.items():
        assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action)
        assert page.startswith("https://docs.aws.amazon.com/")


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(["keepwarm", *path.relative_to(SOURCE).with_suffix("").parts])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_given_a_module_when_read_then_it_asks_neither_config_nor_environment(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"os.environ", "os.getenv", "pulumi.Config", "pulumi.get_stack", "pulumi.get_project"}
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert "os" not in imported
    assert not any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in ast.walk(tree)), (
        "postponed annotations crash the component analyser"
    )


def test_given_the_sources_when_read_then_every_code_they_use_is_registered() -> None:
    used = set()
    for path in modules():
        if path.name != "errors.py":
            used |= set(re.findall(r"\bKW\d{3}\b", path.read_text()))
    assert used <= set(errors.CODES), sorted(used - set(errors.CODES))
    assert all(re.fullmatch(r"KW1[0-5]\d", code) for code in errors.CODES)
    unused = set(errors.CODES) - used
    assert unused == set(), f"registered but never said: {sorted(unused)}"


def test_given_the_phases_when_compared_then_components_and_runtime_agree() -> None:
    assert PHASES == runtime_phases.PHASES


def test_given_the_default_sentences_when_read_then_they_state_the_constants() -> None:
    """A sentence that ends in a number agrees with the constant of the same name, where there is one."""
    checked = 0
    for path in modules():
        module = importlib.import_module(module_name(path)) if path.stem not in ("__init__",) else keepwarm
        tree = ast.parse(path.read_text())
        for cls in [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.endswith("Args")]:
            for field, doc in zip(cls.body, cls.body[1:], strict=False):
                if not (isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)):
                    continue
                assert isinstance(field.target, ast.Name)
                text = " ".join(ast.literal_eval(doc.value).split())
                if "NotRequired" in ast.unparse(field.annotation):
                    stated_by_rule = "Exactly one of" in text
                    assert stated_by_rule or "Default: " in text, (
                        f"{path.name} {field.target.id} states no default"
                    )
                stated = re.search(r"Default: ([0-9.]+)\.$", text)
                constant = constants(module).get(field.target.id.upper())
                if stated and constant is not None:
                    assert float(stated.group(1)) == float(constant), f"{path.name} {field.target.id}"
                    checked += 1
    assert checked >= 30, f"only {checked} defaults were compared"


def constants(module: Any) -> dict[str, Any]:
    """Constants a component's defaults come from: its own, and those of the checks it shares."""
    found: dict[str, Any] = {}
    for other in (module, *(importlib.import_module(f"keepwarm.{m}") for m in shared(module.__name__))):
        found |= {k: v for k, v in vars(other).items() if k.isupper() and isinstance(v, int | float)}
    return found


def shared(name: str) -> list[str]:
    if name.endswith((".runtime_function", ".preprocessing_function")):
        return ["checks.function", "checks.function_events"]
    if name.endswith(".burst_queue"):
        return ["checks.queue"]
    return ["checks.service", "checks.hosts"] if name.endswith(".service.spec") else []
