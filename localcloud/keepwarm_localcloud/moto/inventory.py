"""What exists in moto's backends: the other half of the proof that a teardown leaves nothing."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from keepwarm_localcloud.moto.base import Moto


def _iam_policies(backend: Any) -> Iterable[str]:
    return (p.name for p in backend.managed_policies.values() if not p.arn.startswith("arn:aws:iam::aws:"))


def _security_groups(backend: Any) -> Iterable[str]:
    return (g.id for groups in backend.groups.values() for g in groups.values() if g.name != "default")


def _not_default_vpcs(backend: Any) -> Iterable[str]:
    return (v.id for v in backend.vpcs.values() if str(v.is_default).lower() != "true")


def _vpc_endpoints(backend: Any) -> Iterable[str]:
    return (e.id for e in backend.vpc_end_points.values() if str(e.state).lower() != "deleted")


def _instances(backend: Any) -> Iterable[str]:
    return (i.id for i in backend.all_instances() if i.state not in ("terminated", "shutting-down"))


def _parameters(backend: Any) -> Iterable[str]:
    return (name for name in dict.keys(backend._parameters) if not name.startswith("/aws/service/"))


def _rules(backend: Any) -> Iterable[str]:
    return (name for bus in backend.event_buses.values() for name in bus.rules)


def _kms_aliases(backend: Any) -> Iterable[str]:
    return (a for key in backend.keys.values() for a in key.aliases if not a.startswith("alias/aws/"))


def _kms_keys(backend: Any) -> Iterable[str]:
    # A key scheduled for deletion is what a destroyed key is on AWS for 7..30 days.
    return (
        key.id
        for key in backend.keys.values()
        if key.key_state != "PendingDeletion" and not any(a.startswith("alias/aws/") for a in key.aliases)
    )


def _attribute(name: str, label: str | None = None) -> Callable[[Any], Iterable[str]]:
    def read(backend: Any) -> Iterable[str]:
        held = getattr(backend, name)
        if label is None:
            return list(held)
        return [getattr(item, label) for item in (held.values() if isinstance(held, dict) else held)]

    return read


_KINDS: Final[tuple[tuple[str, str, Callable[[Any], Iterable[str]]], ...]] = (
    ("iam", "roles", _attribute("roles", "name")),
    ("iam", "policies", _iam_policies),
    ("iam", "instance-profiles", _attribute("instance_profiles", "name")),
    ("iam", "users", _attribute("users", "name")),
    ("dynamodb", "tables", _attribute("tables")),
    ("logs", "groups", _attribute("groups")),
    ("cloudwatch", "alarms", _attribute("alarms")),
    ("cloudwatch", "dashboards", _attribute("dashboards")),
    ("kms", "keys", _kms_keys),
    ("kms", "aliases", _kms_aliases),
    ("sns", "topics", _attribute("topics")),
    ("secretsmanager", "secrets", _attribute("secrets")),
    ("stepfunctions", "state-machines", _attribute("state_machines", "name")),
    ("ec2", "vpcs", _not_default_vpcs),
    ("ec2", "security-groups", _security_groups),
    ("ec2", "launch-templates", _attribute("launch_templates")),
    ("ec2", "instances", _instances),
    ("ec2", "vpc-endpoints", _vpc_endpoints),
    ("autoscaling", "groups", _attribute("autoscaling_groups")),
    ("ssm", "parameters", _parameters),
    ("events", "rules", _rules),
    ("ecr", "repositories", _attribute("repositories")),
)


def moto_inventory(moto: Moto, *, leave_to: Iterable[str] = ()) -> dict[str, dict[str, list[str]]]:
    """Names of what exists in moto, backend -> kind -> sorted names; AWS-owned and default things are left out.

    Args:
        moto: The one whose account is listed.
        leave_to: moto backends whose service has its own inventory.
    """
    skipped = set(leave_to)
    found: dict[str, dict[str, list[str]]] = {}
    for backend_name, kind, read in _KINDS:
        if backend_name in skipped:
            continue
        with moto.lock(backend_name):
            backend = moto.existing_backend(backend_name)
            names = sorted(str(n) for n in read(backend)) if backend is not None else []
        if names:
            found.setdefault(backend_name, {})[kind] = names
    return found
