"""What hangs on a function's name: concurrency, resource policy, asynchronous settings, tags, account figures."""

import copy
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.aliases import Aliases
from keepwarm_localcloud.services.lambda_.errors import conflict, invalid, not_found, refuse
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.model import LATEST, Function, Statement
from keepwarm_localcloud.services.lambda_.pool_state import Provisioned
from keepwarm_localcloud.services.lambda_.shapes import Params, page


class Settings:
    """The operations of those settings."""

    def __init__(
        self, context: Context, lock: threading.RLock, functions: Functions, aliases: Aliases
    ) -> None:
        self._context = context
        self._lock = lock
        self._functions = functions
        self._aliases = aliases
        self.other_tags: tuple[Callable[[str], dict[str, str] | None], ...] = ()
        """Where tags of ARNs that are no function's are; the service sets it."""

    # --- concurrency --------------------------------------------------------------------------------------------

    def put_function_concurrency(self, p: Params) -> Params:
        """PutFunctionConcurrency."""
        count = int(p["ReservedConcurrentExecutions"])
        with self._lock:
            function, _ = self._functions.find(p["FunctionName"])
            pools = self._functions.pools
            left = pools.unreserved() + (function.reserved or 0) - count
            if left < limits.LAMBDA_UNRESERVED_CONCURRENCY_MIN:
                raise invalid(
                    "Specified ReservedConcurrentExecutions for function decreases account's "
                    "UnreservedConcurrentExecution below its minimum value of "
                    f"[{limits.LAMBDA_UNRESERVED_CONCURRENCY_MIN}]."
                )
            if count and count < pools.provisioned_total(function.name):
                raise invalid(
                    "Specified ReservedConcurrentExecutions for function is below its Provisioned Concurrency "
                    f"[{pools.provisioned_total(function.name)}]."
                )
            function.reserved = count
        return {"ReservedConcurrentExecutions": count}

    def get_function_concurrency(self, p: Params) -> Params:
        """GetFunctionConcurrency."""
        function, _ = self._functions.find(p["FunctionName"])
        return {} if function.reserved is None else {"ReservedConcurrentExecutions": function.reserved}

    def delete_function_concurrency(self, p: Params) -> Params:
        """DeleteFunctionConcurrency."""
        function, _ = self._functions.find(p["FunctionName"])
        function.reserved = None
        return {}

    def put_provisioned_concurrency_config(self, p: Params) -> Params:
        """PutProvisionedConcurrencyConfig."""
        count = int(p["ProvisionedConcurrentExecutions"])
        with self._lock:
            function, qualifier = self._functions.find(p["FunctionName"], p["Qualifier"])
            number = self._check_provisioned(function, str(qualifier), count)
            pool = self._aliases.provision(function, str(qualifier), number, count)
            return _provisioned_view(pool)

    def _check_provisioned(self, function: Function, qualifier: str, count: int) -> str:
        """Refuse provisioned concurrency where AWS does; gives the version it is for.

        Raises:
            AwsError: InvalidParameterValueException or ResourceNotFoundException.
        """
        pools = self._functions.pools
        alias = function.aliases.get(qualifier)
        version = self._functions.version(function, qualifier)
        if version.number == LATEST:
            raise invalid(
                "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
            )
        if alias is not None and alias.weights:
            raise invalid("Alias with weights can not be used with Provisioned Concurrency")
        if version.snap_start:
            raise invalid("Provisioned Concurrency is not supported for functions with SnapStart enabled.")
        others = {q.qualifier for q in pools.all_provisioned(function.name)} - {qualifier}
        if alias is not None and version.number in others:
            raise invalid(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
            )
        if alias is None and any(
            a.version == version.number for n, a in function.aliases.items() if n in others
        ):
            raise invalid("Version is pointed by a Provisioned Concurrency alias")
        own = pools.provisioned(function.name, qualifier)
        total = pools.provisioned_total(function.name) - (own.requested if own else 0) + count
        if function.reserved is not None:
            if total > function.reserved:
                raise invalid(
                    "Requested Provisioned Concurrency should not be greater than the "
                    "reservedConcurrentExecution for function"
                )
            return version.number
        free = [n for n, f in self._functions.functions.items() if f.reserved is None and n != function.name]
        used = sum(pools.provisioned_total(name) for name in free)
        if pools.unreserved() - used - total < limits.LAMBDA_UNRESERVED_CONCURRENCY_MIN:
            raise invalid(
                "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
                f"its minimum value of [{limits.LAMBDA_UNRESERVED_CONCURRENCY_MIN}]."
            )
        return version.number

    def get_provisioned_concurrency_config(self, p: Params) -> Params:
        """GetProvisionedConcurrencyConfig."""
        with self._lock:
            return _provisioned_view(self._provisioned(p)[1])

    def delete_provisioned_concurrency_config(self, p: Params) -> Params:
        """DeleteProvisionedConcurrencyConfig."""
        function, qualifier = self._functions.find(p["FunctionName"], p["Qualifier"])
        with self._lock:
            alias = function.aliases.get(str(qualifier))
            if alias is not None:
                alias.shifting_from = ""
        self._functions.pools.unprovision(function.name, str(qualifier))
        return {}

    def list_provisioned_concurrency_configs(self, p: Params) -> Params:
        """ListProvisionedConcurrencyConfigs."""
        function, _ = self._functions.find(p["FunctionName"])
        with self._lock:
            rows = [
                {"FunctionArn": function.qualified_arn(pool.qualifier), **_provisioned_view(pool)}
                for pool in self._functions.pools.all_provisioned(function.name)
            ]
        return page(rows, p, "ProvisionedConcurrencyConfigs", "NextMarker")

    def _provisioned(self, p: Params) -> tuple[Function, Provisioned]:
        function, qualifier = self._functions.find(p["FunctionName"], p["Qualifier"])
        pool = self._functions.pools.provisioned(function.name, str(qualifier))
        if pool is None:
            raise AwsError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
                404,
            )
        return function, pool

    # --- resource policy ----------------------------------------------------------------------------------------

    def add_permission(self, p: Params) -> Params:
        """AddPermission."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        self._functions.version(function, qualifier)
        key = qualifier or ""
        conditions: dict[str, dict[str, str]] = {}
        if p.get("SourceArn"):
            conditions["ArnLike"] = {"AWS:SourceArn": p["SourceArn"]}
        strings = {"AWS:SourceAccount": p.get("SourceAccount"), "aws:PrincipalOrgID": p.get("PrincipalOrgID")}
        present = {k: v for k, v in strings.items() if v}
        if present:
            conditions["StringEquals"] = present
        principal = p["Principal"]
        document: Params = {
            "Sid": p["StatementId"],
            "Effect": "Allow",
            "Principal": _principal(principal),
            "Action": p["Action"],
            "Resource": function.qualified_arn(qualifier),
        }
        if conditions:
            document["Condition"] = conditions
        with self._lock:
            statements = function.policies.setdefault(key, {})
            if p["StatementId"] in statements:
                raise conflict(
                    f"The statement id ({p['StatementId']}) provided already exists. Please provide a new "
                    "statement id, or remove the existing statement."
                )
            size = len(_policy_text(statements)) + len(json.dumps(document))
            if size > limits.LAMBDA_RESOURCE_POLICY_MAX_BYTES:
                raise AwsError(
                    "PolicyLengthExceededException",
                    f"The final policy size ({size}) is bigger than the limit "
                    f"({limits.LAMBDA_RESOURCE_POLICY_MAX_BYTES}).",
                )
            statements[p["StatementId"]] = Statement(p["StatementId"], document)
        return {"Statement": json.dumps(document)}

    def remove_permission(self, p: Params) -> Params:
        """RemovePermission."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        with self._lock:
            statements = function.policies.get(qualifier or "", {})
            if statements.pop(p["StatementId"], None) is None:
                raise AwsError(
                    "ResourceNotFoundException",
                    f"Statement {p['StatementId']} is not found in resource policy.",
                    404,
                )
        return {}

    def get_policy(self, p: Params) -> Params:
        """GetPolicy."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        statements = function.policies.get(qualifier or "", {})
        if not statements:
            raise AwsError("ResourceNotFoundException", "The resource you requested does not exist.", 404)
        text = _policy_text(statements)
        return {"Policy": text, "RevisionId": str(uuid.uuid5(uuid.NAMESPACE_URL, text))}

    # --- asynchronous invocation --------------------------------------------------------------------------------

    def put_function_event_invoke_config(self, p: Params) -> Params:
        """PutFunctionEventInvokeConfig: the given settings and nothing of the old ones."""
        return self._event_config(p, {})

    def update_function_event_invoke_config(self, p: Params) -> Params:
        """UpdateFunctionEventInvokeConfig: what is not given stays."""
        return self._event_config(p, self._found_event_config(p))

    def _event_config(self, p: Params, before: Params) -> Params:
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        self._functions.version(function, qualifier)
        config = {k: v for k, v in before.items() if k not in ("FunctionArn", "LastModified")}
        for key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"):
            if p.get(key) is not None:
                config[key] = copy.deepcopy(p[key])
        for side in ("OnSuccess", "OnFailure"):
            target = ((config.get("DestinationConfig") or {}).get(side) or {}).get("Destination")
            if target and target.split(":")[2] not in ("sqs", "sns", "lambda", "events", "s3"):
                raise invalid(f"The destination ARN {target} is invalid.")
            if target and target == function.qualified_arn(qualifier):
                raise invalid("You can't specify the function as a destination for itself.")
        config["FunctionArn"] = function.qualified_arn(qualifier or LATEST)
        config["LastModified"] = self._context.clock.now_s()
        function.event_configs[qualifier or LATEST] = config
        return config

    def get_function_event_invoke_config(self, p: Params) -> Params:
        """GetFunctionEventInvokeConfig."""
        return self._found_event_config(p)

    def delete_function_event_invoke_config(self, p: Params) -> Params:
        """DeleteFunctionEventInvokeConfig."""
        self._found_event_config(p)
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        function.event_configs.pop(qualifier or LATEST, None)
        return {}

    def list_function_event_invoke_configs(self, p: Params) -> Params:
        """ListFunctionEventInvokeConfigs."""
        function, _ = self._functions.find(p["FunctionName"])
        return page(list(function.event_configs.values()), p, "FunctionEventInvokeConfigs", "NextMarker")

    def _found_event_config(self, p: Params) -> Params:
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        found = function.event_configs.get(qualifier or LATEST)
        if found is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"The function {function.qualified_arn(qualifier or LATEST)} doesn't have an EventInvokeConfig",
                404,
            )
        return found

    # --- the rest -----------------------------------------------------------------------------------------------

    def tag_resource(self, p: Params) -> Params:
        """TagResource."""
        self._tags(p).update(p["Tags"])
        return {}

    def untag_resource(self, p: Params) -> Params:
        """UntagResource."""
        tags = self._tags(p)
        for key in p["TagKeys"]:
            tags.pop(key, None)
        return {}

    def list_tags(self, p: Params) -> Params:
        """ListTags."""
        return {"Tags": dict(self._tags(p))}

    def _tags(self, p: Params) -> dict[str, str]:
        arn = p["Resource"]
        for lookup in self.other_tags:
            found = lookup(arn)
            if found is not None:
                return found
        function, qualifier = self._functions.find(arn)
        if qualifier:
            raise invalid(
                "Tags on function aliases and versions are not supported. Please specify a function ARN."
            )
        return function.tags

    def get_account_settings(self, p: Params) -> Params:
        """GetAccountSettings."""
        functions = self._functions.functions.values()
        packages = {v.package.sha256: v.package.size for f in functions for v in f.versions.values()}
        return {
            "AccountLimit": {
                "TotalCodeSize": limits.LAMBDA_CODE_STORAGE_BYTES,
                "CodeSizeUnzipped": limits.LAMBDA_UNZIPPED_MAX_BYTES,
                "CodeSizeZipped": limits.LAMBDA_ZIP_UPLOAD_MAX_BYTES,
                "ConcurrentExecutions": self._context.account_concurrency,
                "UnreservedConcurrentExecutions": self._functions.pools.unreserved(),
            },
            "AccountUsage": {"TotalCodeSize": sum(packages.values()), "FunctionCount": len(functions)},
        }

    def get_function_code_signing_config(self, p: Params) -> Params:
        """GetFunctionCodeSigningConfig: none has one."""
        function, _ = self._functions.find(p["FunctionName"])
        return {"FunctionName": function.name}

    def put_function_code_signing_config(self, p: Params) -> Params:
        """PutFunctionCodeSigningConfig."""
        raise refuse(
            "KW625",
            "CodeSigningConfigArn: got a configuration; allowed here none; because the embedded cloud has no signing "
            "profiles; fix: leave code signing out of the local stack",
        )

    def get_runtime_management_config(self, p: Params) -> Params:
        """GetRuntimeManagementConfig."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        found = function.runtime_management.get(qualifier or "", {"UpdateRuntimeOn": "Auto"})
        return {**found, "FunctionArn": function.qualified_arn(qualifier)}

    def put_runtime_management_config(self, p: Params) -> Params:
        """PutRuntimeManagementConfig."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        if p["UpdateRuntimeOn"] == "Manual" and not p.get("RuntimeVersionArn"):
            raise invalid("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
        found = {k: p[k] for k in ("UpdateRuntimeOn", "RuntimeVersionArn") if p.get(k)}
        function.runtime_management[qualifier or ""] = found
        return {**found, "FunctionArn": function.qualified_arn(qualifier)}

    def get_function_recursion_config(self, p: Params) -> Params:
        """GetFunctionRecursionConfig."""
        function, _ = self._functions.find(p["FunctionName"])
        return {"RecursiveLoop": function.recursion}

    def put_function_recursion_config(self, p: Params) -> Params:
        """PutFunctionRecursionConfig."""
        function, _ = self._functions.find(p["FunctionName"])
        function.recursion = p["RecursiveLoop"]
        return {"RecursiveLoop": function.recursion}

    def get_function_url_config(self, p: Params) -> Params:
        """GetFunctionUrlConfig: none has one."""
        function, qualifier = self._functions.find(p["FunctionName"], p.get("Qualifier"))
        raise not_found(function.qualified_arn(qualifier), "Function URL")

    def list_function_url_configs(self, p: Params) -> Params:
        """ListFunctionUrlConfigs: none has one."""
        self._functions.find(p["FunctionName"])
        return {"FunctionUrlConfigs": []}


def _principal(principal: str) -> Any:
    if principal == "*":
        return "*"
    if principal.endswith(".amazonaws.com"):
        return {"Service": principal}
    return {"AWS": f"arn:aws:iam::{principal}:root" if principal.isdigit() else principal}


def _policy_text(statements: dict[str, Statement]) -> str:
    documents = [s.document for s in statements.values()]
    return json.dumps({"Version": "2012-10-17", "Id": "default", "Statement": documents})


def _provisioned_view(pool: Provisioned) -> Params:
    answer: Params = {
        "RequestedProvisionedConcurrentExecutions": pool.requested,
        "AvailableProvisionedConcurrentExecutions": len(pool.idle),
        "AllocatedProvisionedConcurrentExecutions": min(pool.allocated, pool.requested),
        "Status": pool.status,
        "LastModified": pool.modified,
    }
    if pool.reason:
        answer["StatusReason"] = pool.reason
    return answer
