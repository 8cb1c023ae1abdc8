"""Lambda: how a function is called: aliases, provisioned concurrency, permissions, asynchronous calls."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError


class LambdaAlias(ResourceType):
    """`aws:lambda/alias:Alias`; the id is the ARN."""

    token = "aws:lambda/alias:Alias"
    spec = "name! functionName! functionVersion description routingConfig"
    auto = AutoName("name", 128)
    import_id = "function/alias"

    def _chosen(self, call: Call, arn: str) -> dict[str, Any]:
        return {
            "arn": arn,
            "invokeArn": f"arn:aws:apigateway:{call.region}:lambda:path/2015-03-31/functions/{arn}/invocations",
            "region": call.region,
        }

    def _routing(self, call: Call) -> dict[str, Any]:
        weights = (call.get("routingConfig") or {}).get("additionalVersionWeights") or {}
        return {"RoutingConfig": {"AdditionalVersionWeights": weights}}

    def create(self, call: Call) -> Made:
        routing = self._routing(call) if call.get("routingConfig") else {}
        answer = call.client("lambda").create_alias(
            FunctionName=call.inputs["functionName"],
            Name=call.inputs["name"],
            FunctionVersion=call.inputs["functionVersion"],
            Description=call.get("description", ""),
            **routing,
        )
        return answer["AliasArn"], {"name": call.inputs["name"], **self._chosen(call, answer["AliasArn"])}

    def _where(self, call: Call) -> tuple[str, str]:
        if call.id.startswith("arn:"):
            parts = call.id.split(":")
            return parts[6], parts[7]
        function, _, alias = call.id.partition("/")
        return function, alias

    def read(self, call: Call) -> dict[str, Any] | None:
        function, alias = self._where(call)
        answer = unless_gone(lambda: call.client("lambda").get_alias(FunctionName=function, Name=alias))
        if answer is None:
            return None
        found = {
            "id": answer["AliasArn"],
            "name": alias,
            "functionName": call.old.get("functionName") or function,
            "functionVersion": answer["FunctionVersion"],
            "description": answer.get("Description", ""),
            **self._chosen(call, answer["AliasArn"]),
        }
        weights = (answer.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
        if weights:
            found["routingConfig"] = {"additionalVersionWeights": weights}
        return found

    def update(self, call: Call) -> dict[str, Any]:
        function, alias = self._where(call)
        call.client("lambda").update_alias(
            FunctionName=function,
            Name=alias,
            FunctionVersion=call.inputs["functionVersion"],
            Description=call.get("description", ""),
            **self._routing(call),
        )
        return {}

    def delete(self, call: Call) -> None:
        function, alias = self._where(call)
        unless_gone(lambda: call.client("lambda").delete_alias(FunctionName=function, Name=alias))


class ProvisionedConcurrencyConfig(ResourceType):
    """`aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig`; the id is `function,qualifier`."""

    token = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
    spec = "functionName! qualifier! provisionedConcurrentExecutions skipDestroy=false"
    timeouts_s = (900.0, 900.0, 900.0)
    import_id = "function,qualifier"

    def create(self, call: Call) -> Made:
        function, qualifier = call.inputs["functionName"], call.inputs["qualifier"]
        id_ = f"{function},{qualifier}"
        client = call.client("lambda")

        def attempt() -> bool | None:
            try:
                client.put_provisioned_concurrency_config(
                    FunctionName=function,
                    Qualifier=qualifier,
                    ProvisionedConcurrentExecutions=call.inputs["provisionedConcurrentExecutions"],
                )
            except Exception as error:
                # An alias shift or an earlier change of the same alias is still going on.
                if error_code(error) in ("ResourceConflictException", "ResourceInUseException"):
                    return None
                raise
            return True

        call.deadline.wait(f"provisioned concurrency of {id_}", attempt, first_s=0.2)
        try:
            self._ready(call, function, qualifier)
        except ResourceError as error:
            raise PartiallyMade(error.code, error.message, id_, {"region": call.region}) from error
        return id_, {"region": call.region}

    def _ready(self, call: Call, function: str, qualifier: str) -> None:
        client = call.client("lambda")

        def probe() -> bool | None:
            found = client.get_provisioned_concurrency_config(FunctionName=function, Qualifier=qualifier)
            if found["Status"] == "FAILED":
                raise ResourceError(
                    "KW635",
                    f"provisioned concurrency of {function}:{qualifier}: got FAILED; allowed READY; because "
                    f"{found.get('StatusReason', 'AWS gave no reason')}; fix: look at the init log of the version",
                )
            return True if found["Status"] == "READY" else None

        call.deadline.wait(f"provisioned concurrency of {function}:{qualifier} to become READY", probe)

    def read(self, call: Call) -> dict[str, Any] | None:
        function, _, qualifier = call.id.rpartition(",")
        answer = unless_gone(
            lambda: call.client("lambda").get_provisioned_concurrency_config(
                FunctionName=function, Qualifier=qualifier
            )
        )
        return answer and {
            "functionName": function,
            "qualifier": qualifier,
            "provisionedConcurrentExecutions": answer["RequestedProvisionedConcurrentExecutions"],
            "skipDestroy": call.old.get("skipDestroy", False),
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        if "provisionedConcurrentExecutions" in call.changed:
            self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        function, _, qualifier = call.id.rpartition(",")
        unless_gone(
            lambda: call.client("lambda").delete_provisioned_concurrency_config(
                FunctionName=function, Qualifier=qualifier
            )
        )


class Permission(ResourceType):
    """`aws:lambda/permission:Permission`; the id is the statement id."""

    token = "aws:lambda/permission:Permission"
    spec = """action! function! principal! statementId! statementIdPrefix! qualifier! sourceArn! sourceAccount!
        eventSourceToken! principalOrgId! functionUrlAuthType! invokedViaFunctionUrl!"""
    auto = AutoName("statementId", 100)
    import_id = "function[:qualifier]/statement-id"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self,
            call.inputs,
            *("action", "principal", "statementId", "qualifier", "sourceArn", "sourceAccount"),
            *("eventSourceToken", "functionUrlAuthType", "invokedViaFunctionUrl"),
            names={"principalOrgId": "PrincipalOrgID"},
        )
        if call.get("principalOrgId"):
            arguments["PrincipalOrgID"] = call.inputs["principalOrgId"]
        call.client("lambda").add_permission(FunctionName=call.inputs["function"], **arguments)
        return call.inputs["statementId"], {"statementId": call.inputs["statementId"], "region": call.region}

    def _where(self, call: Call) -> tuple[str, dict[str, str], str]:
        if call.old.get("function"):
            qualifier = call.old.get("qualifier")
            return (
                call.old["function"],
                {"Qualifier": qualifier} if qualifier else {},
                call.old["statementId"],
            )
        function, _, statement = call.id.partition("/")
        name, _, qualifier = function.partition(":")
        return name, {"Qualifier": qualifier} if qualifier else {}, statement

    def read(self, call: Call) -> dict[str, Any] | None:

        function, qualifier, statement_id = self._where(call)
        answer = unless_gone(lambda: call.client("lambda").get_policy(FunctionName=function, **qualifier))
        for statement in json.loads((answer or {}).get("Policy", "{}")).get("Statement", []):
            if statement.get("Sid") == statement_id:
                return self._described(call, function, qualifier, statement)
        return None

    def _described(
        self, call: Call, function: str, qualifier: dict[str, str], statement: dict[str, Any]
    ) -> dict[str, Any]:
        principal = statement.get("Principal")
        if isinstance(principal, dict):
            principal = principal.get("Service") or principal.get("AWS")
        found: dict[str, Any] = {
            "id": statement["Sid"],
            "statementId": statement["Sid"],
            "action": statement["Action"],
            "principal": principal,
            "function": call.old.get("function") or function,
            "region": call.region,
        }
        if qualifier:
            found["qualifier"] = qualifier["Qualifier"]
        conditions = {
            key: value for block in statement.get("Condition", {}).values() for key, value in block.items()
        }
        for key, mine in (
            ("AWS:SourceArn", "sourceArn"),
            ("aws:SourceArn", "sourceArn"),
            ("AWS:SourceAccount", "sourceAccount"),
            ("aws:SourceAccount", "sourceAccount"),
            ("lambda:EventSourceToken", "eventSourceToken"),
            ("aws:PrincipalOrgID", "principalOrgId"),
            ("lambda:FunctionUrlAuthType", "functionUrlAuthType"),
        ):
            if key in conditions:
                found[mine] = conditions[key]
        given = str(call.old.get("principal") or "")
        # A bare account number comes back as the root ARN of that account.
        if given and given in str(found["principal"]):
            found["principal"] = given
        return found

    def delete(self, call: Call) -> None:
        function, qualifier, statement_id = self._where(call)
        unless_gone(
            lambda: call.client("lambda").remove_permission(
                FunctionName=function, StatementId=statement_id, **qualifier
            )
        )


class FunctionEventInvokeConfig(ResourceType):
    """`aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig`; the id is `function[:qualifier]`."""

    token = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
    spec = "functionName! qualifier! destinationConfig maximumEventAgeInSeconds maximumRetryAttempts=2"
    import_id = "function or function:qualifier"

    def _arguments(self, call: Call) -> dict[str, Any]:
        return fill(
            self, call.inputs, "destinationConfig", "maximumEventAgeInSeconds", "maximumRetryAttempts"
        )

    def _where(self, call: Call) -> dict[str, str]:
        if call.old.get("functionName"):
            where = {"FunctionName": call.old["functionName"]}
            if call.old.get("qualifier"):
                where["Qualifier"] = call.old["qualifier"]
            return where
        function, _, qualifier = call.id.partition(":")
        return {"FunctionName": function, **({"Qualifier": qualifier} if qualifier else {})}

    def create(self, call: Call) -> Made:
        where = fill(self, call.inputs, "functionName", "qualifier")
        call.client("lambda").put_function_event_invoke_config(**where, **self._arguments(call))
        qualifier = call.get("qualifier")
        return call.inputs["functionName"] + (f":{qualifier}" if qualifier else ""), {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        where = self._where(call)
        answer = unless_gone(lambda: call.client("lambda").get_function_event_invoke_config(**where))
        if answer is None:
            return None
        found = {
            "functionName": where["FunctionName"],
            "maximumRetryAttempts": answer.get("MaximumRetryAttempts", 2),
            **take(self, answer, "maximumEventAgeInSeconds"),
            "region": call.region,
        }
        if where.get("Qualifier"):
            found["qualifier"] = where["Qualifier"]
        wanted = take(self, answer, "destinationConfig").get("destinationConfig", {})
        destinations = {k: v for k, v in wanted.items() if v.get("destination")}
        if destinations:
            found["destinationConfig"] = destinations
        return found

    def update(self, call: Call) -> dict[str, Any]:
        call.client("lambda").put_function_event_invoke_config(**self._where(call), **self._arguments(call))
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("lambda").delete_function_event_invoke_config(**self._where(call)))
