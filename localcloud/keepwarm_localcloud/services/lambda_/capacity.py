"""Capacity providers of Lambda managed instances: kept and shown, without instances behind them.

A function on a capacity provider runs here as every other function does, one event at a time per environment; what
managed instances change on AWS (several events at once per environment, EC2 instances, longer timeouts) is not shown.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html
"""

import copy
import threading

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.model import LATEST
from keepwarm_localcloud.services.lambda_.shapes import Params, iso, page

_KEPT = (
    "VpcConfig",
    "PermissionsConfig",
    "InstanceRequirements",
    "CapacityProviderScalingConfig",
    "KmsKeyArn",
    "PropagateTags",
    "TelemetryConfig",
)


class CapacityProviders:
    """The capacity providers and the operations on them."""

    def __init__(self, context: Context, lock: threading.RLock, functions: Functions) -> None:
        self._context = context
        self._lock = lock
        self._functions = functions
        self.providers: dict[str, Params] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._scaling: dict[tuple[str, str], Params] = {}

    def _arn(self, name: str) -> str:
        return f"arn:aws:lambda:{self._context.region}:{self._context.account_id}:capacity-provider:{name}"

    def tags_of(self, arn: str) -> dict[str, str] | None:
        """Tags of the provider with an ARN; None when the ARN is no provider's."""
        return self._tags.get(arn.rpartition(":")[2]) if ":capacity-provider:" in arn else None

    def create_capacity_provider(self, p: Params) -> Params:
        """CreateCapacityProvider."""
        name = p["CapacityProviderName"].rpartition(":")[2]
        self._functions.resolve_vpc(p["VpcConfig"])
        with self._lock:
            if name in self.providers:
                raise conflict(f"Capacity provider already exists: {name}")
            provider = {k: copy.deepcopy(p[k]) for k in _KEPT if p.get(k) is not None}
            provider |= {"CapacityProviderArn": self._arn(name), "State": "Active"}
            provider["LastModified"] = iso(self._context.clock.now_s())
            self.providers[name] = provider
            self._tags[name] = dict(p.get("Tags") or {})
        return {"CapacityProvider": provider}

    def get_capacity_provider(self, p: Params) -> Params:
        """GetCapacityProvider."""
        return {"CapacityProvider": self._find(p)[1]}

    def update_capacity_provider(self, p: Params) -> Params:
        """UpdateCapacityProvider."""
        _, provider = self._find(p)
        for key in ("CapacityProviderScalingConfig", "PropagateTags", "TelemetryConfig"):
            if p.get(key) is not None:
                provider[key] = copy.deepcopy(p[key])
        provider["LastModified"] = iso(self._context.clock.now_s())
        return {"CapacityProvider": provider}

    def delete_capacity_provider(self, p: Params) -> Params:
        """DeleteCapacityProvider; refused while versions use it."""
        name, provider = self._find(p)
        users = self._users(provider["CapacityProviderArn"])
        if users:
            raise conflict(f"Capacity provider {name} is in use by function version(s): {', '.join(users)}")
        with self._lock:
            self.providers.pop(name, None)
            self._tags.pop(name, None)
        return {"CapacityProvider": {**provider, "State": "Deleting"}}

    def list_capacity_providers(self, p: Params) -> Params:
        """ListCapacityProviders."""
        rows = [self.providers[name] for name in sorted(self.providers)]
        return page(rows, p, "CapacityProviders", "NextMarker")

    def list_function_versions_by_capacity_provider(self, p: Params) -> Params:
        """ListFunctionVersionsByCapacityProvider."""
        _, provider = self._find(p)
        rows: list[Params] = [
            {"FunctionArn": arn, "State": "Active"} for arn in self._users(provider["CapacityProviderArn"])
        ]
        answer = page(rows, p, "FunctionVersions", "NextMarker")
        return {**answer, "CapacityProviderArn": provider["CapacityProviderArn"]}

    def put_function_scaling_config(self, p: Params) -> Params:
        """PutFunctionScalingConfig."""
        function, qualifier = self._functions.find(p["FunctionName"], p["Qualifier"])
        version = self._functions.version(function, None if qualifier == "$LATEST.PUBLISHED" else qualifier)
        if "CapacityProviderConfig" not in version.config:
            raise invalid(f"{function.qualified_arn(qualifier)} does not use a capacity provider.")
        config = dict(p.get("FunctionScalingConfig") or {})
        least, most = config.get("MinExecutionEnvironments", 0), config.get("MaxExecutionEnvironments")
        if most is not None and least > most:
            raise invalid("MinExecutionEnvironments must not be greater than MaxExecutionEnvironments.")
        self._scaling[function.name, str(qualifier)] = config
        return {"FunctionState": "Active"}

    def get_function_scaling_config(self, p: Params) -> Params:
        """GetFunctionScalingConfig."""
        function, qualifier = self._functions.find(p["FunctionName"], p["Qualifier"])
        config = self._scaling.get((function.name, str(qualifier)), {})
        return {
            "FunctionArn": function.qualified_arn(qualifier),
            "AppliedFunctionScalingConfig": config,
            "RequestedFunctionScalingConfig": config,
        }

    def _find(self, p: Params) -> tuple[str, Params]:
        name = p["CapacityProviderName"].rpartition(":")[2]
        if name not in self.providers:
            raise AwsError(
                "ResourceNotFoundException", f"Capacity provider not found: {self._arn(name)}", 404
            )
        return name, self.providers[name]

    def _users(self, arn: str) -> list[str]:
        found = []
        for function in self._functions.functions.values():
            for version in function.versions.values():
                config = version.config.get("CapacityProviderConfig", {})
                used = config.get("LambdaManagedInstancesCapacityProviderConfig", {})
                if used.get("CapacityProviderArn") == arn:
                    found.append(function.qualified_arn(None if version.number == LATEST else version.number))
        return found
