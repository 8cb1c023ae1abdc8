"""Checks on the statements a caller adds to a role."""

from collections.abc import Sequence
from typing import Any

from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem
from keepwarm.iam.grants import UNAVOIDABLE, Statement


def check_grants(checks: Checks[Any], key: str, statements: Sequence[Statement]) -> list[Statement]:
    """Refuse wildcards in a caller's statements; unknown resources are checked when they resolve."""
    checked: list[Statement] = []
    for index, statement in enumerate(statements):
        at = f"{key}[{index}]"
        actions = statement.get("actions", [])
        for action in actions:
            if "*" in action or "?" in action or ":" not in action:
                checks.add(
                    code="KW137",
                    key=f"{at}.actions",
                    got=repr(action),
                    allowed="actions spelled out as 'service:Action'",
                    because="a wildcard also grants what the service adds tomorrow",
                    fix="list the actions, or use a verb of keepwarm.grants",
                )
        free = bool(actions) and all(action in UNAVOIDABLE for action in actions)

        def test(resource: Any, at: str = at, free: bool = free) -> Problem | None:
            if isinstance(resource, str) and resource.strip("*") == "" and not free:
                return Problem(
                    code="KW137",
                    key=f"{at}.resources",
                    got=repr(resource),
                    allowed="ARNs",
                    because="it grants the actions on everything in the account",
                    fix="name the resource",
                )
            return None

        resources = [checks.holds(test, resource) for resource in statement.get("resources", [])]
        entry: Statement = {"actions": actions, "resources": resources}
        if "conditions" in statement:
            entry["conditions"] = statement["conditions"]
        checked.append(entry)
    return checked
