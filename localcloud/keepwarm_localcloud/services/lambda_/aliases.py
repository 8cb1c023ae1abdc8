"""Aliases: names that point at versions, share traffic, and move a warm pool from one version to the next."""

import math
import threading
import uuid

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid, not_found
from keepwarm_localcloud.services.lambda_.functions import Functions, check_revision
from keepwarm_localcloud.services.lambda_.model import LATEST, Alias, Function
from keepwarm_localcloud.services.lambda_.pool_state import Provisioned
from keepwarm_localcloud.services.lambda_.shapes import Params, page


class Aliases:
    """The operations on aliases."""

    def __init__(self, lock: threading.RLock, functions: Functions) -> None:
        self._lock = lock
        self._functions = functions

    def create_alias(self, p: Params) -> Params:
        """CreateAlias."""
        function, _ = self._functions.find(p["FunctionName"])
        with self._lock:
            if p["Name"] in function.aliases:
                raise conflict(f"Alias already exists: {function.qualified_arn(p['Name'])}")
            weights = self._weights(function, p["FunctionVersion"], p.get("RoutingConfig"))
            self._check_version(function, p["FunctionVersion"])
            alias = Alias(
                p["Name"], p["FunctionVersion"], p.get("Description", ""), str(uuid.uuid4()), weights
            )
            function.aliases[alias.name] = alias
        return self.alias(function, alias)

    def update_alias(self, p: Params) -> Params:
        """UpdateAlias; with provisioned concurrency on it, traffic moves once the new version's is READY."""
        function, alias = self._alias(p)
        check_revision(p, alias.revision_id)
        with self._lock:
            version = p.get("FunctionVersion") or alias.version
            self._check_version(function, version)
            weights = alias.weights
            if p.get("RoutingConfig") is not None:
                weights = self._weights(function, version, p["RoutingConfig"])
            pool = self._functions.pools.provisioned(function.name, alias.name)
            if pool is not None and weights:
                raise invalid("Alias with weights can not be used with Provisioned Concurrency")
            if pool is not None and version == LATEST:
                raise invalid(
                    "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
                )
            if pool is not None and version != alias.version:
                before = alias.shifting_from or alias.version
                alias.shifting_from = before if before != version else ""
                self.provision(function, alias.name, version, pool.requested)
            alias.version, alias.weights = version, weights
            alias.description = p.get("Description", alias.description)
            alias.revision_id = str(uuid.uuid4())
        return self.alias(function, alias)

    def provision(self, function: Function, qualifier: str, version: str, count: int) -> Provisioned:
        """Ask the pools for provisioned environments and let the alias follow when they are READY."""

        def ready() -> None:
            alias = function.aliases.get(qualifier)
            if alias is not None:
                alias.shifting_from = ""

        launch = self._functions.launch(function, function.versions[version])
        return self._functions.pools.provision(function, qualifier, version, launch, count, ready)

    def get_alias(self, p: Params) -> Params:
        """GetAlias."""
        function, alias = self._alias(p)
        return self.alias(function, alias)

    def list_aliases(self, p: Params) -> Params:
        """ListAliases."""
        function, _ = self._functions.find(p["FunctionName"])
        wanted = p.get("FunctionVersion")
        rows = [self.alias(function, a) for a in function.aliases.values() if wanted in (None, a.version)]
        return page(rows, p, "Aliases", "NextMarker")

    def delete_alias(self, p: Params) -> Params:
        """DeleteAlias; deleting one that is gone is no error, as on AWS."""
        function, _ = self._functions.find(p["FunctionName"])
        with self._lock:
            function.aliases.pop(p["Name"], None)
            function.policies.pop(p["Name"], None)
            function.event_configs.pop(p["Name"], None)
        self._functions.pools.unprovision(function.name, p["Name"])
        return {}

    def alias(self, function: Function, alias: Alias) -> Params:
        """An alias as the API shows it."""
        answer: Params = {
            "AliasArn": function.qualified_arn(alias.name),
            "Name": alias.name,
            "FunctionVersion": alias.version,
            "Description": alias.description,
            "RevisionId": alias.revision_id,
        }
        if alias.shown_weights():
            answer["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.shown_weights())}
        return answer

    def _alias(self, p: Params) -> tuple[Function, Alias]:
        function, _ = self._functions.find(p["FunctionName"])
        alias = function.aliases.get(p["Name"])
        if alias is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"Cannot find alias arn: {function.qualified_arn(p['Name'])}",
                404,
            )
        return function, alias

    def _check_version(self, function: Function, version: str) -> None:
        if version not in function.versions:
            raise not_found(function.qualified_arn(version))

    def _weights(self, function: Function, version: str, routing: Params | None) -> dict[str, float]:
        weights = dict((routing or {}).get("AdditionalVersionWeights") or {})
        if not weights:
            return {}
        if len(weights) > 1:
            raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
        if version == LATEST or LATEST in weights:
            raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
        if version in weights:
            raise invalid(
                f"Invalid function version {version}. Function version {version} is already included in routing."
            )
        for other, weight in weights.items():
            self._check_version(function, other)
            if not (math.isfinite(weight) and 0.0 <= weight <= 1.0):
                raise invalid("Weights must be between 0.0 and 1.0")
        return weights
