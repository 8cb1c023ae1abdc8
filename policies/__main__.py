"""The policy pack. `PolicyPack` serves and never returns, so nothing imports this file."""

from pulumi_policy import EnforcementLevel, PolicyPack

from keepwarm_policies.mistakes import RULES

PolicyPack(name="keepwarm", enforcement_level=EnforcementLevel.MANDATORY, policies=list(RULES))
