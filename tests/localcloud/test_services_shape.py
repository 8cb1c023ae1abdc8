"""One shape of service: a stranger finds dispatch, state and permissions of every AWS service in the same files."""

import subprocess
import sys
from pathlib import Path

import pytest

import keepwarm_localcloud.services as package
from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services import registry
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.dispatch import operation_named, snake

FOLDER = Path(package.__file__).parent
STATELESS = {"sts"}
"""Services that keep nothing of their own."""
ROUTED = {"lambda", "s3", "scheduler", "sts"}
"""Services whose requests name their operation by path or form; the others name it in `X-Amz-Target`."""
ENTRIES = registry._ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_given_a_service_then_its_files_are_where_they_are_everywhere(name: str) -> None:
    entry = ENTRIES[name]
    present = {path.stem for path in (FOLDER / entry.folder).glob("*.py")}

    wanted = {"__init__", "service"} | ({"model"} if entry.folder not in STATELESS else set())
    assert wanted - present == set()
    assert ("actions" in present) is entry.asks


def test_given_the_folders_then_each_is_a_service_or_a_hook_of_moto() -> None:
    folders = {path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists()}

    assert folders == {entry.folder for entry in ENTRIES.values()} | {"dynamodb", "logs"}


@pytest.mark.parametrize("service", registry.default_services(), ids=lambda s: s.name)
def test_given_a_default_service_then_it_is_listed_under_its_signing_name(service: Service) -> None:
    assert type(service).__name__ == ENTRIES[service.name].service


@pytest.mark.parametrize(
    "service", [s for s in registry.default_services() if s.name not in ROUTED], ids=lambda s: s.name
)
def test_given_an_operation_nobody_has_then_it_is_refused(service: Service) -> None:
    request = Request("POST", "/", {}, {"x-amz-target": "Any.MakeTea"}, "any", "us-east-1", body=b"{}")

    with pytest.raises(AwsError):
        service.handle(request)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CreateQueue", "create_queue"), ("DescribeTTL", "describe_t_t_l"), ("a", "a"), ("", "")],
)
def test_given_an_operation_then_its_method_is_named_after_it(name: str, expected: str) -> None:
    assert snake(name) == expected


@pytest.mark.parametrize("name", ["", "../x", "__class__", "Delete Queue"])
def test_given_no_operation_name_then_there_is_no_method(name: str) -> None:
    assert operation_named(registry.default_services()[1], name) is None


HEAVY = {"boto3", "botocore", "email.message", "grpc", "importlib.metadata", "moto", "pulumi"}
"""Modules that cost a start more than all of the cloud's own, and that no service needs before its first request."""


def test_given_all_services_when_made_then_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\n"
        "from keepwarm_localcloud.cloud import Cloud\n"
        "from keepwarm_localcloud.services.registry import default_services\n"
        "default_services()\n"
        "print(*sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert HEAVY & set(answer.stdout.split()) == set()
