"""Lambda: functions, versions, aliases, provisioned concurrency, event sources, permissions, layers."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from collections.abc import Callable
from typing import Any, ClassVar

from keepwarm_localcloud.resources.base import (
    AutoName,
    Call,
    Made,
    ResourceType,
    error_code,
    fill,
    tag_changes,
    tag_map,
    take,
    unless_gone,
)
from keepwarm_localcloud.resources.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.resources.package_upload import upload

_CONFIGURATION = (
    "description",
    "role",
    "handler",
    "runtime",
    "timeout",
    "memorySize",
    "environment",
    "vpcConfig",
    "deadLetterConfig",
    "kmsKeyArn",
    "tracingConfig",
    "layers",
    "imageConfig",
    "ephemeralStorage",
    "snapStart",
    "loggingConfig",
    "durableConfig",
    "capacityProviderConfig",
)
"""Inputs that UpdateFunctionConfiguration takes."""

_CODE = ("code", "imageUri", "s3Bucket", "s3Key", "s3ObjectVersion", "sourceCodeHash", "architectures")
_NAMES = {
    "kmsKeyArn": "KMSKeyArn",
    "entryPoints": "EntryPoint",
    "commands": "Command",
    "executionEnvironmentMemoryGibPerVcpu": "ExecutionEnvironmentMemoryGiBPerVCpu",
}


def _stamp(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value or "")


_UNSET: dict[str, Any] = {
    "description": "",
    "environment": {},
    "vpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
    "deadLetterConfig": {},
    "kmsKeyArn": "",
    "layers": [],
    "imageConfig": {},
    "ephemeralStorage": {"Size": 512},
    "snapStart": {"ApplyOn": "None"},
    "tracingConfig": {"Mode": "PassThrough"},
    "loggingConfig": {"LogFormat": "Text"},
}
"""What the API wants to hear when a property was removed."""


def _send_code(
    kind: ResourceType, call: Call, send: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Make a request with the code, wherever it is: in an archive, in S3 or in an image."""
    if call.inputs.get("code") is not None:
        return upload(call, send)
    return send(fill(kind, call.inputs, "imageUri", "s3Bucket", "s3Key", "s3ObjectVersion"))


class Function(ResourceType):
    """`aws:lambda/function:Function`; the id is the name."""

    token = "aws:lambda/function:Function"
    spec = """name! architectures? code codeSha256? deadLetterConfig description durableConfig!
        environment{variables*} ephemeralStorage? handler imageConfig imageUri kmsKeyArn layers 
        loggingConfig?{applicationLogLevel? logFormat? logGroup? systemLogLevel?}
        memorySize=128 packageType!="Zip" publish=false publishTo reservedConcurrentExecutions=-1 role runtime
        s3Bucket s3Key s3ObjectVersion skipDestroy=false snapStart{applyOn optimizationStatus?} sourceCodeHash?
        tags timeout=3 tracingConfig? vpcConfig{ipv6AllowedForDualStack securityGroupIds~ subnetIds~ vpcId?}
        capacityProviderConfig tenancyConfig! fileSystemConfig replaceSecurityGroupsOnDestroy
        replacementSecurityGroupIds useResourceTimeoutForPropagation?"""
    auto = AutoName("name", 64)
    moves = ("lastModified",)
    moves_with: ClassVar[Any] = {
        "version": (*_CODE, *_CONFIGURATION, "publish"),
        "qualifiedArn": (*_CODE, *_CONFIGURATION, "publish"),
        "qualifiedInvokeArn": (*_CODE, *_CONFIGURATION, "publish"),
        "codeSha256": _CODE,
        "sourceCodeHash": _CODE,
        "sourceCodeSize": _CODE,
    }
    timeouts_s = (600.0, 600.0, 600.0)
    import_id = "the function's name"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        failures: list[tuple[str, str]] = []
        sources = [n for n in ("code", "imageUri", "s3Bucket") if inputs.get(n) is not None]
        if len(sources) != 1:
            failures.append(
                (
                    "code",
                    f"KW634 got {' and '.join(sources) or 'none'} of code, imageUri and "
                    "s3Bucket; allowed exactly one",
                )
            )
        image = inputs.get("packageType") == "Image"
        if image and inputs.get("code") is not None:
            failures.append(
                ("packageType", "KW634 got Image together with code; allowed imageUri; fix: use one of them")
            )
        if not image:
            failures.extend(
                (n, "KW633 missing; allowed a value; because packageType is Zip")
                for n in ("handler", "runtime")
                if inputs.get(n) is None
            )
        return failures

    def _arguments(self, call: Call, names: tuple[str, ...] | frozenset[str]) -> dict[str, Any]:
        arguments = fill(self, call.inputs, *[n for n in _CONFIGURATION if n in names], names=_NAMES)
        vpc = arguments.get("VpcConfig")
        if vpc:
            vpc.pop("VpcId", None)
        if "SnapStart" in arguments:
            arguments["SnapStart"].pop("OptimizationStatus", None)
        if call.inputs.get("fileSystemConfig") and "fileSystemConfig" in names:
            arguments["FileSystemConfigs"] = [fill(self, call.inputs, "fileSystemConfig")["FileSystemConfig"]]
        return arguments

    def create(self, call: Call) -> Made:
        client = call.client("lambda")
        name = call.inputs["name"]
        arguments = self._arguments(call, (*_CONFIGURATION, "fileSystemConfig"))
        arguments.update(fill(self, call.inputs, "architectures", "packageType", "publish", "tenancyConfig"))
        if call.tags:
            arguments["Tags"] = call.tags

        answer = _send_code(
            self, call, lambda code: client.create_function(FunctionName=name, Code=code, **arguments)
        )
        outputs = self._chosen(call, answer)
        try:
            if answer.get("State", "Active") != "Active":
                self._ready(call, name)
            reserved = call.get("reservedConcurrentExecutions", -1)
            if reserved >= 0:
                client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
        except ResourceError as error:
            raise PartiallyMade(error.code, error.message, name, outputs) from error
        except Exception as error:
            raise PartiallyMade("KW635", f"function {name}: {error}", name, outputs) from error
        return name, outputs

    def _ready(self, call: Call, name: str) -> None:
        def probe() -> bool | None:
            found = call.client("lambda").get_function_configuration(FunctionName=name)
            if found.get("State") == "Failed" or found.get("LastUpdateStatus") == "Failed":
                reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or "no reason given"
                raise ResourceError("KW635", f"function {name}: AWS reports {reason}")
            settled = found.get("State", "Active") == "Active" and found.get("LastUpdateStatus") in (
                None,
                "Successful",
            )
            return True if settled else None

        call.deadline.wait(f"function {name} to become Active", probe)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        arn = answer["FunctionArn"]
        version = answer.get("Version", "$LATEST")
        base = arn.removesuffix(f":{version}") if arn.count(":") > 6 else arn
        invoke = f"arn:aws:apigateway:{call.region}:lambda:path/2015-03-31/functions"
        streaming = invoke.replace("2015-03-31", "2021-11-15")
        outputs = {
            "arn": base,
            "name": answer["FunctionName"],
            "qualifiedArn": f"{base}:{version}",
            "qualifiedInvokeArn": f"{invoke}/{base}:{version}/invocations",
            "invokeArn": f"{invoke}/{base}/invocations",
            "responseStreamingInvokeArn": f"{streaming}/{base}/response-streaming-invocations",
            "version": version,
            "lastModified": answer.get("LastModified", ""),
            "codeSha256": answer.get("CodeSha256", ""),
            "sourceCodeHash": call.get("sourceCodeHash") or answer.get("CodeSha256", ""),
            "sourceCodeSize": answer.get("CodeSize", 0),
            "signingJobArn": "",
            "signingProfileVersionArn": "",
            "region": call.region,
            "architectures": answer.get("Architectures", ["x86_64"]),
            "ephemeralStorage": {"size": answer.get("EphemeralStorage", {}).get("Size", 512)},
            "tracingConfig": {"mode": answer.get("TracingConfig", {}).get("Mode", "PassThrough")},
        }
        logging = answer.get("LoggingConfig") or {}
        outputs["loggingConfig"] = call.get("loggingConfig") or {
            "logFormat": logging.get("LogFormat", "Text"),
            "logGroup": logging.get("LogGroup", f"/aws/lambda/{answer['FunctionName']}"),
        }
        return outputs

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("lambda")
        answer = unless_gone(lambda: client.get_function(FunctionName=call.id))
        if answer is None:
            return None
        configuration = answer["Configuration"]
        names = tuple(n for n in _CONFIGURATION if n not in ("environment", "vpcConfig"))
        found = {
            **self._chosen(call, configuration),
            **take(self, configuration, *names, "architectures", "packageType", names=_NAMES),
        }
        variables = configuration.get("Environment", {}).get("Variables")
        if variables:
            found["environment"] = {"variables": variables}
        vpc = configuration.get("VpcConfig", {})
        if vpc.get("SubnetIds"):
            found["vpcConfig"] = {
                "subnetIds": vpc["SubnetIds"],
                "securityGroupIds": vpc.get("SecurityGroupIds", []),
                "vpcId": vpc.get("VpcId", ""),
            }
        if configuration.get("Layers"):
            found["layers"] = [layer["Arn"] for layer in configuration["Layers"]]
        if configuration.get("SnapStart", {}).get("ApplyOn") in (None, "None"):
            found.pop("snapStart", None)
        found["reservedConcurrentExecutions"] = answer.get("Concurrency", {}).get(
            "ReservedConcurrentExecutions", -1
        )
        found["tags"] = tag_map(answer.get("Tags"))
        for mine in (
            "publish",
            "skipDestroy",
            "s3Bucket",
            "s3Key",
            "s3ObjectVersion",
            "imageUri",
            "publishTo",
        ):
            if call.old.get(mine) is not None:
                found[mine] = call.old[mine]
        if call.old.get("code") is not None:
            # Only the digest comes back from AWS: another one means that somebody else deployed code.
            kept = call.old.get("codeSha256") in (None, "", found["codeSha256"])
            found["code"] = call.old["code"] if kept else None
        latest = call.old.get("version")
        if call.old.get("publish") and latest:
            versions = client.get_paginator("list_versions_by_function").paginate(FunctionName=call.id)
            numbers = [
                v["Version"] for page in versions for v in page["Versions"] if v["Version"] != "$LATEST"
            ]
            if numbers:
                last = max(numbers, key=int)
                found["version"] = last
                found["qualifiedArn"] = f"{found['arn']}:{last}"
                found["qualifiedInvokeArn"] = found["invokeArn"].replace(
                    found["arn"], f"{found['arn']}:{last}"
                )
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("lambda")
        answer: dict[str, Any] | None = None
        configuration = call.changed & {*_CONFIGURATION, "fileSystemConfig"}
        if configuration:
            arguments = self._arguments(call, configuration)
            for name in configuration - set(call.inputs):
                if name in _UNSET:
                    arguments[_NAMES.get(name, name[0].upper() + name[1:])] = _UNSET[name]
            answer = client.update_function_configuration(FunctionName=call.id, **arguments)
            if answer.get("LastUpdateStatus", "Successful") != "Successful":
                self._ready(call, call.id)
        if call.changed & set(_CODE):
            others = fill(self, call.inputs, "architectures")
            answer = _send_code(
                self, call, lambda code: client.update_function_code(FunctionName=call.id, **code, **others)
            )
            if answer.get("LastUpdateStatus", "Successful") != "Successful":
                self._ready(call, call.id)
        if "reservedConcurrentExecutions" in call.changed:
            reserved = call.get("reservedConcurrentExecutions", -1)
            if reserved >= 0:
                client.put_function_concurrency(FunctionName=call.id, ReservedConcurrentExecutions=reserved)
            else:
                client.delete_function_concurrency(FunctionName=call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(Resource=call.old["arn"], Tags=added)
        publish = call.get("publish") and (answer is not None or "publish" in call.changed)
        if publish:
            answer = client.publish_version(FunctionName=call.id)
        if answer is None:
            return {}
        outputs = self._chosen(call, answer)
        if not publish and call.get("publish"):
            outputs = {
                k: v for k, v in outputs.items() if k not in ("version", "qualifiedArn", "qualifiedInvokeArn")
            }
        return outputs

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        unless_gone(lambda: call.client("lambda").delete_function(FunctionName=call.id))


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
        import json

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


_MAPPING = (
    "batchSize",
    "maximumBatchingWindowInSeconds",
    "functionResponseTypes",
    "scalingConfig",
    "filterCriteria",
    "destinationConfig",
    "maximumRecordAgeInSeconds",
    "maximumRetryAttempts",
    "bisectBatchOnFunctionError",
    "parallelizationFactor",
    "tumblingWindowInSeconds",
    "metricsConfig",
    "provisionedPollerConfig",
    "kmsKeyArn",
    "enabled",
)


class EventSourceMapping(ResourceType):
    """`aws:lambda/eventSourceMapping:EventSourceMapping`; the id is the UUID."""

    token = "aws:lambda/eventSourceMapping:EventSourceMapping"
    spec = """eventSourceArn! functionName batchSize? maximumBatchingWindowInSeconds functionResponseTypes~
        enabled=true scalingConfig filterCriteria destinationConfig maximumRecordAgeInSeconds?
        maximumRetryAttempts? bisectBatchOnFunctionError parallelizationFactor? tumblingWindowInSeconds
        startingPosition! startingPositionTimestamp! metricsConfig provisionedPollerConfig kmsKeyArn tags
        useResourceTimeoutForPropagation?"""
    moves = ("state", "lastModified", "stateTransitionReason", "functionArn")
    import_id = "the mapping's UUID"

    def _arguments(self, call: Call, names: frozenset[str] | None = None) -> dict[str, Any]:
        wanted = [n for n in _MAPPING if names is None or n in names]
        arguments = fill(self, call.inputs, *wanted, names={"kmsKeyArn": "KMSKeyArn"})
        if names is not None:
            if "scalingConfig" in names and call.get("scalingConfig") is None:
                arguments["ScalingConfig"] = {}
            if "functionResponseTypes" in names and call.get("functionResponseTypes") is None:
                arguments["FunctionResponseTypes"] = []
            if "filterCriteria" in names and call.get("filterCriteria") is None:
                arguments["FilterCriteria"] = {}
            if "destinationConfig" in names and call.get("destinationConfig") is None:
                arguments["DestinationConfig"] = {"OnFailure": {}}
            if "metricsConfig" in names and call.get("metricsConfig") is None:
                arguments["MetricsConfig"] = {}
            window = "maximumBatchingWindowInSeconds"
            if window in names and call.get(window) is None:
                arguments["MaximumBatchingWindowInSeconds"] = 0
        return arguments

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        modified = answer.get("LastModified")
        return {
            "uuid": answer["UUID"],
            "arn": answer.get("EventSourceMappingArn")
            or call.arn("lambda", f"event-source-mapping:{answer['UUID']}"),
            "functionArn": answer["FunctionArn"],
            "state": answer.get("State", "Enabled"),
            "stateTransitionReason": answer.get("StateTransitionReason", ""),
            "lastProcessingResult": answer.get("LastProcessingResult", ""),
            "lastModified": _stamp(modified),
            "batchSize": answer.get("BatchSize", 10),
            "maximumBatchingWindowInSeconds": answer.get("MaximumBatchingWindowInSeconds", 0),
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        arguments = self._arguments(call)
        if call.tags:
            arguments["Tags"] = call.tags
        arguments.update(fill(self, call.inputs, "startingPosition", "startingPositionTimestamp"))
        answer = call.client("lambda").create_event_source_mapping(
            EventSourceArn=call.inputs["eventSourceArn"],
            FunctionName=call.inputs["functionName"],
            **arguments,
        )
        outputs = self._chosen(call, answer)
        if answer.get("State") not in (None, "Enabled", "Disabled"):
            outputs["state"] = self._settled(call, answer["UUID"])
        return answer["UUID"], outputs

    def _settled(self, call: Call, uuid: str) -> str:
        def probe() -> str | None:
            state = str(call.client("lambda").get_event_source_mapping(UUID=uuid).get("State", "Enabled"))
            return None if state in ("Creating", "Enabling", "Disabling", "Updating", "Deleting") else state

        return call.deadline.wait(f"event source mapping {uuid} to settle", probe)

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("lambda")
        answer = unless_gone(lambda: client.get_event_source_mapping(UUID=call.id))
        if answer is None or answer.get("State") == "Deleting":
            return None
        found = {
            **self._chosen(call, answer),
            **take(
                self,
                answer,
                *(n for n in _MAPPING if n not in ("enabled", "kmsKeyArn")),
                "eventSourceArn",
                "startingPosition",
            ),
            "enabled": answer.get("State") not in ("Disabled", "Disabling"),
        }
        given = str(call.old.get("functionName") or "")
        arn = answer["FunctionArn"]
        tail = arn.split(":function:")[-1]
        found["functionName"] = given if given in (arn, tail, tail.split(":")[0]) and given else arn
        if not found.get("destinationConfig", {}).get("onFailure"):
            found.pop("destinationConfig", None)
        tags = unless_gone(lambda: client.list_tags(Resource=found["arn"]))
        found["tags"] = tag_map((tags or {}).get("Tags"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("lambda")
        arguments = self._arguments(call, call.changed - {"tags"})
        if "functionName" in call.changed:
            arguments["FunctionName"] = call.inputs["functionName"]
        outputs: dict[str, Any] = {}
        if arguments:
            answer = client.update_event_source_mapping(UUID=call.id, **arguments)
            outputs = self._chosen(call, answer)
            if answer.get("State") not in (None, "Enabled", "Disabled"):
                outputs["state"] = self._settled(call, call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(Resource=call.old["arn"], Tags=added)
        return outputs

    def delete(self, call: Call) -> None:
        client = call.client("lambda")
        if unless_gone(lambda: client.delete_event_source_mapping(UUID=call.id)) is None:
            return

        def probe() -> bool | None:
            return (
                True if unless_gone(lambda: client.get_event_source_mapping(UUID=call.id)) is None else None
            )

        call.deadline.wait(f"event source mapping {call.id} to be gone", probe)


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


class LayerVersion(ResourceType):
    """`aws:lambda/layerVersion:LayerVersion`; the id is the version's ARN; every change makes a new version."""

    token = "aws:lambda/layerVersion:LayerVersion"
    spec = """layerName! code! compatibleArchitectures!~ compatibleRuntimes!~ description! licenseInfo! s3Bucket!
        s3Key! s3ObjectVersion! skipDestroy=false sourceCodeHash!?"""
    import_id = "the layer version's ARN"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self, call.inputs, "compatibleArchitectures", "compatibleRuntimes", "description", "licenseInfo"
        )
        client, name = call.client("lambda"), call.inputs["layerName"]
        answer = _send_code(
            self,
            call,
            lambda content: client.publish_layer_version(LayerName=name, Content=content, **arguments),
        )
        return answer["LayerVersionArn"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        content = answer.get("Content", {})
        digest = content.get("CodeSha256", "")
        return {
            "arn": answer["LayerVersionArn"],
            "layerArn": answer["LayerArn"],
            "version": str(answer["Version"]),
            "createdDate": str(answer.get("CreatedDate", "")),
            "codeSha256": digest,
            "sourceCodeHash": call.get("sourceCodeHash") or call.old.get("sourceCodeHash") or digest,
            "sourceCodeSize": content.get("CodeSize", 0),
            "signingJobArn": "",
            "signingProfileVersionArn": "",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        layer, _, version = call.id.rpartition(":")
        answer = unless_gone(
            lambda: call.client("lambda").get_layer_version(LayerName=layer, VersionNumber=int(version))
        )
        if answer is None:
            return None
        found = {
            **self._chosen(call, answer),
            "layerName": call.old.get("layerName") or layer.rpartition(":")[2],
            "skipDestroy": call.old.get("skipDestroy", False),
            **take(
                self, answer, "compatibleArchitectures", "compatibleRuntimes", "description", "licenseInfo"
            ),
        }
        for mine in ("code", "s3Bucket", "s3Key", "s3ObjectVersion"):
            if call.old.get(mine) is not None:
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        layer, _, version = call.id.rpartition(":")
        unless_gone(
            lambda: call.client("lambda").delete_layer_version(LayerName=layer, VersionNumber=int(version))
        )


class CapacityProvider(ResourceType):
    """`aws:lambda/capacityProvider:CapacityProvider` (Lambda managed instances); the id is the name."""

    token = "aws:lambda/capacityProvider:CapacityProvider"
    spec = """name! vpcConfig!{securityGroupIds~ subnetIds~} permissionsConfig! instanceRequirements!?
        capacityProviderScalingConfigs? kmsKeyArn! tags timeouts"""
    auto = AutoName("name", 140)
    import_id = "the capacity provider's name"

    def _arguments(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, "vpcConfig", "permissionsConfig", names=_NAMES)
        requirements = fill(self, call.inputs, "instanceRequirements").get("InstanceRequirements")
        if requirements:
            arguments["InstanceRequirements"] = requirements[0]
        scaling = fill(
            self, call.inputs, "capacityProviderScalingConfigs", names={"maxVcpuCount": "MaxVCpuCount"}
        ).get("CapacityProviderScalingConfigs")
        if scaling:
            arguments["CapacityProviderScalingConfig"] = scaling[0]
        if call.get("kmsKeyArn"):
            arguments["KmsKeyArn"] = call.inputs["kmsKeyArn"]
        return arguments

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        arguments = self._arguments(call)
        if call.tags:
            arguments["Tags"] = call.tags
        call.client("lambda").create_capacity_provider(CapacityProviderName=name, **arguments)
        outputs = {
            "name": name,
            "arn": call.arn("lambda", f"capacity-provider:{name}"),
            "region": call.region,
        }
        try:
            self._ready(call, name)
        except ResourceError as error:
            raise PartiallyMade(error.code, error.message, name, outputs) from error
        return name, outputs

    def _ready(self, call: Call, name: str) -> None:
        def probe() -> bool | None:
            found = call.client("lambda").get_capacity_provider(CapacityProviderName=name)["CapacityProvider"]
            if found["State"] == "Failed":
                raise ResourceError("KW635", f"capacity provider {name}: AWS reports Failed")
            return True if found["State"] == "Active" else None

        call.deadline.wait(f"capacity provider {name} to become Active", probe)

    def read(self, call: Call) -> dict[str, Any] | None:
        name = call.id.rpartition(":")[2]
        client = call.client("lambda")
        answer = unless_gone(lambda: client.get_capacity_provider(CapacityProviderName=name))
        if answer is None:
            return None
        provider = answer["CapacityProvider"]
        found = {
            "name": name,
            "arn": provider["CapacityProviderArn"],
            "region": call.region,
            **take(self, provider, "vpcConfig", "permissionsConfig"),
        }
        for mine, theirs in (
            ("instanceRequirements", "InstanceRequirements"),
            ("capacityProviderScalingConfigs", "CapacityProviderScalingConfig"),
        ):
            if provider.get(theirs):
                key = mine[0].upper() + mine[1:]
                found.update(
                    take(self, {key: [provider[theirs]]}, mine, names={"maxVcpuCount": "MaxVCpuCount"})
                )
        if provider.get("KmsKeyArn"):
            found["kmsKeyArn"] = provider["KmsKeyArn"]
        tags = unless_gone(lambda: client.list_tags(Resource=found["arn"]))
        found["tags"] = tag_map((tags or {}).get("Tags"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("lambda")
        scaling = self._arguments(call).get("CapacityProviderScalingConfig")
        if "capacityProviderScalingConfigs" in call.changed and scaling:
            client.update_capacity_provider(
                CapacityProviderName=call.id, CapacityProviderScalingConfig=scaling
            )
            self._ready(call, call.id)
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(Resource=call.old["arn"], Tags=added)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("lambda")
        if unless_gone(lambda: client.delete_capacity_provider(CapacityProviderName=call.id)) is None:
            return

        def probe() -> bool | None:
            found = unless_gone(lambda: client.get_capacity_provider(CapacityProviderName=call.id))
            return True if found is None else None

        call.deadline.wait(f"capacity provider {call.id} to be gone", probe)


TYPES: tuple[type[ResourceType], ...] = (
    Function,
    LambdaAlias,
    ProvisionedConcurrencyConfig,
    Permission,
    EventSourceMapping,
    FunctionEventInvokeConfig,
    LayerVersion,
    CapacityProvider,
)
