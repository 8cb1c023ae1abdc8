"""The consumer examples fit the package: YAML and TypeScript name what the schema has, and the page shows these files.

Does not prove that they deploy; tests/engine does that for Python and YAML. TypeScript is not compiled.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "examples" / "consumer"
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests" / "components" / "golden" / "schema.json").read_text())
PLAIN = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


def faults(value: Any, spec: dict[str, Any], at: str) -> list[str]:
    """Where a value of a YAML program is not what the schema says."""
    if isinstance(value, str) and value.startswith("${"):
        return []
    reference = str(spec.get("$ref", ""))
    if reference == "pulumi.json#/Archive":
        return [] if isinstance(value, dict) and "fn::fileArchive" in value else [f"{at}: no archive"]
    if reference:
        return faults_of_object(value, SCHEMA["types"][reference.removeprefix("#/types/")], at)
    if spec["type"] == "array":
        return [f for i, v in enumerate(value) for f in faults(v, spec["items"], f"{at}[{i}]")]
    if spec["type"] == "object":
        return [f for k, v in value.items() for f in faults(v, spec["additionalProperties"], f"{at}.{k}")]
    return [] if isinstance(value, PLAIN[spec["type"]]) else [f"{at}: {value!r} is no {spec['type']}"]


def faults_of_object(values: dict[str, Any], described: dict[str, Any], at: str) -> list[str]:
    """Unknown, missing and wrongly typed properties of an object."""
    properties = described.get("inputProperties") or described["properties"]
    required = described.get("requiredInputs", described.get("required", []))
    found = [f"{at}.{key}: unknown" for key in values if key not in properties]
    found += [f"{at}.{key}: missing" for key in required if key not in values]
    known = {k: v for k, v in values.items() if k in properties}
    return found + [f for k, v in known.items() for f in faults(v, properties[k], f"{at}.{k}")]


def program_faults(document: dict[str, Any]) -> list[str]:
    """Everything in a YAML program that the schema does not allow, references included."""
    resources = document["resources"]
    found = []
    for name, resource in resources.items():
        found += faults_of_object(resource["properties"], SCHEMA["resources"][resource["type"]], name)
    text = json.dumps(document)
    for owner, output in re.findall(r"\$\{(\w+)\.(\w+)\}", text):
        if output not in SCHEMA["resources"][resources[owner]["type"]]["properties"]:
            found.append(f"${{{owner}.{output}}}: no such output")
    return found


def yaml_program() -> dict[str, Any]:
    return dict(yaml.safe_load((CONSUMER / "yaml" / "Pulumi.yaml").read_text()))


def test_given_the_yaml_program_then_the_schema_allows_every_word_of_it() -> None:
    document = yaml_program()
    assert len(document["resources"]) == 5
    assert program_faults(document) == []


def test_given_a_yaml_program_with_mistakes_then_each_is_found() -> None:
    document = yaml_program()
    document["resources"]["jobs"]["properties"] |= {"maxEventAgeS": "soon", "consumer_timeout_s": 30}
    document["resources"]["measure"]["properties"]["queue"].pop("url")
    document["resources"]["warm"]["properties"]["target"]["alias"] = "${measure.aliasName}"
    assert program_faults(document) == [
        "jobs.consumer_timeout_s: unknown",
        "jobs.maxEventAgeS: 'soon' is no integer",
        "measure.queue.url: missing",
        "${measure.aliasName}: no such output",
    ]


def test_given_the_typescript_program_then_it_is_the_yaml_one_in_other_words() -> None:
    source = (CONSUMER / "typescript" / "index.ts").read_text()
    resources = yaml_program()["resources"]
    made = dict(re.findall(r'new keepwarm\.(\w+)\("(\w+)"', source))
    assert made == {r["type"].rpartition(":")[2]: name for name, r in resources.items()}

    def keys(value: Any) -> set[str]:
        if not isinstance(value, dict):
            return set()
        return {k for k in value if "::" not in k} | {k for v in value.values() for k in keys(v)}

    assert set(re.findall(r"(\w+):\s", source)) == {
        k for r in resources.values() for k in keys(r["properties"])
    }


def test_given_the_consumer_program_then_it_needs_two_packages_of_ours() -> None:
    tree = ast.parse((CONSUMER / "__main__.py").read_text())
    named = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    named += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {n.split(".")[0] for n in named} - sys.stdlib_module_names == {
        "pulumi",
        "keepwarm",
        "keepwarm_build",
    }


def test_given_the_page_then_it_shows_the_files() -> None:
    page = (ROOT / "docs" / "consume.md").read_text()
    shown = dict(re.findall(r"```(python|py|yaml|typescript)\n(.*?)```", page, re.DOTALL))
    files = {
        "python": "__main__.py",
        "py": "function/handler.py",
        "yaml": "yaml/Pulumi.yaml",
        "typescript": "typescript/index.ts",
    }
    assert shown == {language: (CONSUMER / file).read_text() for language, file in files.items()}
