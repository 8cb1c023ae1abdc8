"""The import hook changes when modules load, nothing else. The gain is measured by benchmarks/bench_stack."""

import json
import subprocess
import sys

import pytest

PROBE = """
import json, sys, warnings
warnings.simplefilter("ignore")
lazy = sys.argv[1] == "lazy"
if lazy:
    from keepwarm_localcloud.engine import lazy_aws
    lazy_aws.install()
    lazy_aws.install()
import importlib
service = importlib.import_module("pulumi_aws." + sys.argv[2])
names = json.loads(sys.argv[3])
if not names:
    hasattr(service, 'touch')  # the SDK's own lazy module loads on the first look
    names = sorted(n for n in dir(service) if not n.startswith('_'))
print(json.dumps({n: getattr(getattr(service, n), "__module__", "") or "" for n in names}))
loaded = [m for m in sys.modules if m.startswith("pulumi_aws." + sys.argv[2] + ".")]
print(json.dumps(loaded))
"""


def probe(mode: str, service: str, names: list[str]) -> tuple[dict[str, str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, mode, service, json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, loaded = done.stdout.splitlines()
    return json.loads(found), json.loads(loaded)


@pytest.mark.parametrize("service", ["sqs", "appautoscaling", "sfn"])
def test_given_the_hook_when_any_public_name_is_read_then_it_comes_from_the_same_module(service: str) -> None:
    eager, _ = probe("eager", service, [])
    public = [n for n, module in eager.items() if module and module.startswith("pulumi_aws.")]
    lazy, _ = probe("lazy", service, public)

    assert public
    assert lazy == {n: eager[n] for n in public}


def test_given_the_hook_when_one_class_is_read_then_its_neighbors_stay_unloaded() -> None:
    _, loaded = probe("lazy", "ec2", ["LaunchTemplate", "SecurityGroup"])

    modules = {m.rsplit(".", 1)[-1] for m in loaded}
    assert {"launch_template", "security_group"} <= modules
    assert not {"instance", "vpn_connection", "spot_fleet_request"} & modules


def test_given_the_hook_when_a_name_does_not_exist_then_attribute_error() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        probe("lazy", "sqs", ["Quue"])
    assert "AttributeError: module 'pulumi_aws.sqs' has no attribute 'Quue'" in caught.value.stderr
