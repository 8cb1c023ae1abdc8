"""Lambda: functions and layers, the two types that carry code."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from collections.abc import Callable
from typing import Any, ClassVar

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.pulumi_types.package_upload import upload

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

API_NAMES = {
    "kmsKeyArn": "KMSKeyArn",
    "entryPoints": "EntryPoint",
    "commands": "Command",
    "executionEnvironmentMemoryGibPerVcpu": "ExecutionEnvironmentMemoryGiBPerVCpu",
}

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
    spec = """name! architectures? code codeSha256? deadLetterConfig description
        durableConfig! durableConfig.retentionPeriod=14
        environment{variables*} ephemeralStorage? handler imageConfig imageUri kmsKeyArn layers
        loggingConfig?{applicationLogLevel? logFormat? logGroup? systemLogLevel?}
        memorySize=128 packageType!="Zip" publish=false publishTo reservedConcurrentExecutions=-1 role runtime
        s3Bucket s3Key s3ObjectVersion skipDestroy=false snapStart{applyOn optimizationStatus?} sourceCodeHash?
        tags timeout=3 tracingConfig? vpcConfig{ipv6AllowedForDualStack securityGroupIds~ subnetIds~ vpcId?}
        capacityProviderConfig tenancyConfig! fileSystemConfig replaceSecurityGroupsOnDestroy
        replacementSecurityGroupIds useResourceTimeoutForPropagation"""
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
        arguments = fill(self, call.inputs, *[n for n in _CONFIGURATION if n in names], names=API_NAMES)
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
            **take(self, configuration, *names, "architectures", "packageType", names=API_NAMES),
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
            # AWS returns only the digest: a different one means that other code was deployed.
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
        configured = self._reconfigure(call)
        sent = self._resend(call)
        if "reservedConcurrentExecutions" in call.changed:
            self._reserve(call)
        if "tags" in call.changed:
            self._retag(call)
        latest = sent or configured
        if call.get("publish") and (latest or "publish" in call.changed):
            published = call.client("lambda").publish_version(FunctionName=call.id)
            return self._chosen(call, published)
        return self._chosen(call, latest) if latest else {}

    def _reconfigure(self, call: Call) -> dict[str, Any] | None:
        """Send the settings that changed; what the program dropped gets AWS's default."""
        names = call.changed & {*_CONFIGURATION, "fileSystemConfig"}
        if not names:
            return None
        arguments = self._arguments(call, names)
        for name in names - set(call.inputs):
            if name in _UNSET:
                arguments[API_NAMES.get(name, name[0].upper() + name[1:])] = _UNSET[name]
        answer = call.client("lambda").update_function_configuration(FunctionName=call.id, **arguments)
        return self._settled(call, answer)

    def _resend(self, call: Call) -> dict[str, Any] | None:
        """Send the code if it changed."""
        if not call.changed & set(_CODE):
            return None
        client, others = call.client("lambda"), fill(self, call.inputs, "architectures")
        answer = _send_code(
            self, call, lambda code: client.update_function_code(FunctionName=call.id, **code, **others)
        )
        return self._settled(call, answer)

    def _settled(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if answer.get("LastUpdateStatus", "Successful") != "Successful":
            self._ready(call, call.id)
        return answer

    def _reserve(self, call: Call) -> None:
        client, reserved = call.client("lambda"), call.get("reservedConcurrentExecutions", -1)
        if reserved >= 0:
            client.put_function_concurrency(FunctionName=call.id, ReservedConcurrentExecutions=reserved)
        else:
            client.delete_function_concurrency(FunctionName=call.id)

    def _retag(self, call: Call) -> None:
        client = call.client("lambda")
        added, removed = tag_changes(call)
        if removed:
            client.untag_resource(Resource=call.old["arn"], TagKeys=removed)
        if added:
            client.tag_resource(Resource=call.old["arn"], Tags=added)

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        unless_gone(lambda: call.client("lambda").delete_function(FunctionName=call.id))


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
