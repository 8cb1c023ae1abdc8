"""Step Functions, EventBridge Scheduler, Cloud Map, API Gateway v2, Application Auto Scaling, EC2 Auto Scaling."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any, ClassVar

from keepwarm_localcloud.resources.base import (
    AutoName,
    Call,
    Made,
    ResourceType,
    error_code,
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
    unless_gone,
)
from keepwarm_localcloud.resources.errors import ResourceError


def _stamp(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else str(value or "")


class StateMachine(ResourceType):
    """`aws:sfn/stateMachine:StateMachine`; the id is the ARN."""

    token = "aws:sfn/stateMachine:StateMachine"
    spec = """name! namePrefix! definition:json roleArn type!="STANDARD" loggingConfiguration? tracingConfiguration?
        encryptionConfiguration? publish=false tags"""
    auto = AutoName("name", 80)
    moves = ("revisionId", "stateMachineVersionArn")
    import_id = "the state machine's ARN"

    def _settings(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, "definition", "roleArn", upper=False)
        logging = call.get("loggingConfiguration")
        if logging:
            wanted: dict[str, Any] = {
                "level": logging.get("level", "OFF"),
                "includeExecutionData": bool(logging.get("includeExecutionData")),
            }
            if logging.get("logDestination"):
                group = {"logGroupArn": logging["logDestination"]}
                wanted["destinations"] = [{"cloudWatchLogsLogGroup": group}]
            arguments["loggingConfiguration"] = wanted
        if call.get("tracingConfiguration"):
            arguments["tracingConfiguration"] = {
                "enabled": bool(call.inputs["tracingConfiguration"].get("enabled"))
            }
        if call.get("encryptionConfiguration"):
            arguments.update(fill(self, call.inputs, "encryptionConfiguration", upper=False))
        if call.get("publish"):
            arguments["publish"] = True
        return arguments

    def create(self, call: Call) -> Made:
        client = call.client("stepfunctions")
        answer = client.create_state_machine(
            name=call.inputs["name"],
            type=call.inputs["type"],
            tags=tag_list(call.tags, "key", "value"),
            **self._settings(call),
        )
        arn = answer["stateMachineArn"]
        return arn, {
            "arn": arn,
            "name": call.inputs["name"],
            "creationDate": _stamp(answer.get("creationDate")),
            "status": "ACTIVE",
            "stateMachineVersionArn": answer.get("stateMachineVersionArn", ""),
            "revisionId": "",
            "description": "",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("stepfunctions")
        answer = unless_gone(lambda: client.describe_state_machine(stateMachineArn=call.id))
        if answer is None or answer.get("status") == "DELETING":
            return None
        found = {
            "arn": call.id,
            "name": answer["name"],
            "definition": answer["definition"],
            "roleArn": answer["roleArn"],
            "type": answer.get("type", "STANDARD"),
            "creationDate": _stamp(answer.get("creationDate")),
            "status": answer.get("status", "ACTIVE"),
            "revisionId": answer.get("revisionId", ""),
            "stateMachineVersionArn": call.old.get("stateMachineVersionArn", ""),
            "publish": call.old.get("publish", False),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(resourceArn=call.id).get("tags"), "key", "value"),
        }
        logging = answer.get("loggingConfiguration") or {}
        if logging.get("level"):
            destinations = logging.get("destinations") or []
            found["loggingConfiguration"] = {
                "level": logging["level"],
                "includeExecutionData": logging.get("includeExecutionData", False),
            }
            if destinations:
                found["loggingConfiguration"]["logDestination"] = destinations[0]["cloudWatchLogsLogGroup"][
                    "logGroupArn"
                ]
        if answer.get("tracingConfiguration"):
            found["tracingConfiguration"] = {"enabled": answer["tracingConfiguration"].get("enabled", False)}
        if answer.get("encryptionConfiguration"):
            found.update(take(self, answer, "encryptionConfiguration", upper=False))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("stepfunctions")
        outputs: dict[str, Any] = {}
        if call.changed - {"tags"}:
            answer = client.update_state_machine(stateMachineArn=call.id, **self._settings(call))
            outputs = {
                "revisionId": answer.get("revisionId", ""),
                "stateMachineVersionArn": answer.get("stateMachineVersionArn", ""),
            }
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            if removed:
                client.untag_resource(resourceArn=call.id, tagKeys=removed)
            if added:
                client.tag_resource(resourceArn=call.id, tags=tag_list(added, "key", "value"))
        return outputs

    def delete(self, call: Call) -> None:
        client = call.client("stepfunctions")
        if unless_gone(lambda: client.delete_state_machine(stateMachineArn=call.id)) is None:
            return

        def probe() -> bool | None:
            found = unless_gone(lambda: client.describe_state_machine(stateMachineArn=call.id))
            return True if found is None else None

        call.deadline.wait(f"state machine {call.id} to be gone", probe)


class Schedule(ResourceType):
    """`aws:scheduler/schedule:Schedule`; the id is `group/name`."""

    token = "aws:scheduler/schedule:Schedule"
    spec = """name! namePrefix! groupName!="default" scheduleExpression scheduleExpressionTimezone="UTC"
        flexibleTimeWindow target{arn roleArn input deadLetterConfig retryPolicy? sqsParameters
        eventbridgeParameters ecsParameters} state="ENABLED" description startDate endDate kmsKeyArn
        actionAfterCompletion?"""
    auto = AutoName("name", 64)
    import_id = "group/name"

    def _settings(self, call: Call) -> dict[str, Any]:
        arguments = fill(
            self,
            call.inputs,
            *("scheduleExpression", "scheduleExpressionTimezone", "flexibleTimeWindow", "target", "state"),
            *("description", "startDate", "endDate", "kmsKeyArn", "actionAfterCompletion"),
            names={"eventbridgeParameters": "EventBridgeParameters"},
        )
        return arguments

    def create(self, call: Call) -> Made:
        group, name = call.inputs["groupName"], call.inputs["name"]
        call.client("scheduler").create_schedule(Name=name, GroupName=group, **self._settings(call))
        return f"{group}/{name}", {
            "name": name,
            "arn": call.arn("scheduler", f"schedule/{group}/{name}"),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        group, _, name = call.id.partition("/")
        answer = unless_gone(lambda: call.client("scheduler").get_schedule(Name=name, GroupName=group))
        if answer is None:
            return None
        found = take(
            self,
            answer,
            *("scheduleExpression", "scheduleExpressionTimezone", "flexibleTimeWindow", "target", "state"),
            *("description", "kmsKeyArn", "actionAfterCompletion"),
            names={"eventbridgeParameters": "EventBridgeParameters"},
        )
        for mine in ("startDate", "endDate"):
            if call.old.get(mine):
                found[mine] = call.old[mine]
        return {
            **found,
            "name": name,
            "groupName": group,
            "arn": call.arn("scheduler", f"schedule/{group}/{name}"),
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        group, _, name = call.id.partition("/")
        call.client("scheduler").update_schedule(Name=name, GroupName=group, **self._settings(call))
        return {}

    def delete(self, call: Call) -> None:
        group, _, name = call.id.partition("/")
        unless_gone(lambda: call.client("scheduler").delete_schedule(Name=name, GroupName=group))


class ScheduleGroup(ResourceType):
    """`aws:scheduler/scheduleGroup:ScheduleGroup`; the id is the name."""

    token = "aws:scheduler/scheduleGroup:ScheduleGroup"
    spec = "name! namePrefix! tags"
    auto = AutoName("name", 64)
    import_id = "the group's name"

    def create(self, call: Call) -> Made:
        name = call.inputs["name"]
        call.client("scheduler").create_schedule_group(
            Name=name, **({"Tags": tag_list(call.tags)} if call.tags else {})
        )
        arn = call.arn("scheduler", f"schedule-group/{name}")
        return name, {"name": name, "arn": arn, "state": "ACTIVE", "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("scheduler")
        answer = unless_gone(lambda: client.get_schedule_group(Name=call.id))
        if answer is None or answer.get("State") == "DELETING":
            return None
        arn = call.arn("scheduler", f"schedule-group/{call.id}")
        return {
            "name": call.id,
            "arn": arn,
            "state": answer.get("State", "ACTIVE"),
            "creationDate": _stamp(answer.get("CreationDate")),
            "lastModificationDate": _stamp(answer.get("LastModificationDate")),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceArn=arn).get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        added, removed = tag_changes(call)
        if removed:
            call.client("scheduler").untag_resource(ResourceArn=call.old["arn"], TagKeys=removed)
        if added:
            call.client("scheduler").tag_resource(ResourceArn=call.old["arn"], Tags=tag_list(added))
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("scheduler")
        if unless_gone(lambda: client.get_schedule_group(Name=call.id)) is not None:
            unless_gone(lambda: client.delete_schedule_group(Name=call.id))


class _Namespace(ResourceType):
    """A Cloud Map namespace; the id is `ns-...`. Making and removing one are operations that finish later."""

    import_id = "the namespace's id"

    def start(self, call: Call) -> str:
        raise NotImplementedError

    def create(self, call: Call) -> Made:
        client = call.client("servicediscovery")
        operation = self.start(call)
        namespace = _operation(call, operation)["NAMESPACE"]
        found = client.get_namespace(Id=namespace)["Namespace"]
        return namespace, self._chosen(call, found)

    def _chosen(self, call: Call, found: dict[str, Any]) -> dict[str, Any]:
        outputs = {"arn": found["Arn"], "name": found["Name"], "region": call.region}
        properties = found.get("Properties", {})
        if "httpNamespace" in self.token:
            outputs["httpName"] = properties.get("HttpProperties", {}).get("HttpName", found["Name"])
        else:
            outputs["hostedZone"] = properties.get("DnsProperties", {}).get("HostedZoneId", "")
        return outputs

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("servicediscovery")
        id_, _, vpc = call.id.partition(":")
        answer = unless_gone(lambda: client.get_namespace(Id=id_))
        if answer is None:
            return None
        found = answer["Namespace"]
        result = {
            **self._chosen(call, found),
            "description": found.get("Description", ""),
            "tags": tag_map(client.list_tags_for_resource(ResourceARN=found["Arn"]).get("Tags")),
        }
        if "vpc" in self.fields:
            result["vpc"] = call.old.get("vpc") or vpc
        return result

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("servicediscovery")
        if "description" in call.changed:
            if "httpNamespace" in self.token:
                answer = client.update_http_namespace(
                    Id=call.id, Namespace={"Description": call.get("description", "")}
                )
            else:
                answer = client.update_private_dns_namespace(
                    Id=call.id, Namespace={"Description": call.get("description", "")}
                )
            _operation(call, answer["OperationId"])
        _retag_map(call)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("servicediscovery")
        answer = unless_gone(lambda: client.delete_namespace(Id=call.id))
        if answer is not None:
            _operation(call, answer["OperationId"])


def _retag_map(call: Call) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("servicediscovery")
    if removed:
        client.untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
    if added:
        client.tag_resource(ResourceARN=call.old["arn"], Tags=tag_list(added))


def _operation(call: Call, operation: str) -> dict[str, str]:
    """Wait for a Cloud Map operation; return what it was about."""

    def probe() -> dict[str, str] | None:
        found = call.client("servicediscovery").get_operation(OperationId=operation)["Operation"]
        if found["Status"] == "FAIL":
            raise ResourceError(
                "KW635", f"Cloud Map operation {operation}: {found.get('ErrorMessage', 'failed')}"
            )
        return dict(found.get("Targets", {})) if found["Status"] == "SUCCESS" else None

    return call.deadline.wait(f"Cloud Map operation {operation}", probe)


class HttpNamespace(_Namespace):
    """`aws:servicediscovery/httpNamespace:HttpNamespace`."""

    token = "aws:servicediscovery/httpNamespace:HttpNamespace"
    spec = "name! description tags"
    auto = AutoName("name", 1024)

    def start(self, call: Call) -> str:
        answer = call.client("servicediscovery").create_http_namespace(
            Name=call.inputs["name"], Tags=tag_list(call.tags), **fill(self, call.inputs, "description")
        )
        return str(answer["OperationId"])


class PrivateDnsNamespace(_Namespace):
    """`aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace`."""

    token = "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace"
    spec = "name! vpc! description tags"
    auto = AutoName("name", 253)
    import_id = "namespace-id:vpc-id"

    def start(self, call: Call) -> str:
        answer = call.client("servicediscovery").create_private_dns_namespace(
            Name=call.inputs["name"],
            Vpc=call.inputs["vpc"],
            Tags=tag_list(call.tags),
            **fill(self, call.inputs, "description"),
        )
        return str(answer["OperationId"])


class DiscoveryService(ResourceType):
    """`aws:servicediscovery/service:Service`; the id is `srv-...`."""

    token = "aws:servicediscovery/service:Service"
    spec = """name! namespaceId!? description dnsConfig{namespaceId! dnsRecords routingPolicy!?} healthCheckConfig
        healthCheckCustomConfig!{failureThreshold?} type!? forceDestroy=false tags"""
    auto = AutoName("name", 127)
    import_id = "the service's id"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self,
            call.inputs,
            "namespaceId",
            "description",
            "healthCheckConfig",
            "healthCheckCustomConfig",
            "type",
        )
        dns = call.get("dnsConfig")
        if dns:
            arguments["DnsConfig"] = {
                "DnsRecords": [{"Type": r["type"], "TTL": r["ttl"]} for r in dns["dnsRecords"]],
                "NamespaceId": dns["namespaceId"],
                **({"RoutingPolicy": dns["routingPolicy"]} if dns.get("routingPolicy") else {}),
            }
            arguments.setdefault("NamespaceId", dns["namespaceId"])
        if "HealthCheckCustomConfig" in arguments:
            arguments["HealthCheckCustomConfig"].setdefault("FailureThreshold", 1)
        answer = call.client("servicediscovery").create_service(
            Name=call.inputs["name"], Tags=tag_list(call.tags), **arguments
        )["Service"]
        namespace = answer.get("NamespaceId") or call.get("namespaceId") or (dns or {}).get("namespaceId", "")
        return answer["Id"], {
            "arn": answer["Arn"],
            "name": call.inputs["name"],
            "namespaceId": namespace,
            "type": call.get("type") or ("DNS_HTTP" if dns else "HTTP"),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("servicediscovery")
        answer = unless_gone(lambda: client.get_service(Id=call.id))
        if answer is None:
            return None
        service = answer["Service"]
        found = {
            "arn": service["Arn"],
            "name": service["Name"],
            "description": service.get("Description", ""),
            "namespaceId": service.get("NamespaceId") or call.old.get("namespaceId"),
            "type": call.old.get("type") or service.get("Type"),
            "forceDestroy": call.old.get("forceDestroy", False),
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceARN=service["Arn"]).get("Tags")),
            **take(self, service, "healthCheckConfig"),
        }
        if service.get("HealthCheckCustomConfig") is not None:
            found["healthCheckCustomConfig"] = {
                "failureThreshold": service["HealthCheckCustomConfig"].get("FailureThreshold", 1)
            }
        dns = service.get("DnsConfig") or {}
        if dns.get("DnsRecords"):
            found["dnsConfig"] = {
                "namespaceId": dns.get("NamespaceId") or found["namespaceId"],
                "dnsRecords": [{"type": r["Type"], "ttl": r["TTL"]} for r in dns["DnsRecords"]],
                "routingPolicy": dns.get("RoutingPolicy", "MULTIVALUE"),
            }
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("servicediscovery")
        if call.changed - {"tags"}:
            wanted: dict[str, Any] = {"Description": call.get("description", "")}
            dns = call.get("dnsConfig")
            if dns:
                wanted["DnsConfig"] = {
                    "DnsRecords": [{"Type": r["type"], "TTL": r["ttl"]} for r in dns["dnsRecords"]]
                }
            wanted.update(fill(self, call.inputs, "healthCheckConfig"))
            answer = client.update_service(Id=call.id, Service=wanted)
            _operation(call, answer["OperationId"])
        _retag_map(call)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("servicediscovery")
        if call.old.get("forceDestroy"):
            answer = unless_gone(lambda: client.list_instances(ServiceId=call.id)) or {}
            for instance in answer.get("Instances", []):
                client.deregister_instance(ServiceId=call.id, InstanceId=instance["Id"])

        def probe() -> bool | None:
            try:
                client.delete_service(Id=call.id)
            except Exception as error:
                if error_code(error) == "ResourceInUse":
                    # Tasks that stopped a moment ago are still being deregistered.
                    return None
                if error_code(error) == "ServiceNotFound":
                    return True
                raise
            return True

        call.deadline.wait(f"Cloud Map service {call.id} to be free of instances", probe, first_s=0.1)


_API_NAMES = {"timeoutMilliseconds": "TimeoutInMillis"}


class _ApiPart(ResourceType):
    """A part of an HTTP API; the id is the part's own id."""

    noun: str
    id_key: str
    settings: ClassVar[Any]

    def _arguments(self, call: Call) -> dict[str, Any]:
        return fill(self, call.inputs, *self.settings, names=_API_NAMES)

    def _where(self, call: Call) -> tuple[str, str]:
        if call.old.get("apiId"):
            return call.old["apiId"], call.id
        api, _, part = call.id.partition("/")
        return api, part

    def create(self, call: Call) -> Made:
        client = call.client("apigatewayv2")
        answer = getattr(client, f"create_{self.noun}")(ApiId=call.inputs["apiId"], **self._arguments(call))
        return answer[self.id_key], self.chosen(call, answer)

    def chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        api, part = self._where(call)
        client = call.client("apigatewayv2")
        answer = unless_gone(lambda: getattr(client, f"get_{self.noun}")(ApiId=api, **{self.id_key: part}))
        if answer is None:
            return None
        return {
            "id": part,
            "apiId": api,
            **take(self, answer, *self.settings, names=_API_NAMES),
            **self.chosen(call, answer),
        }

    def update(self, call: Call) -> dict[str, Any]:
        api, part = self._where(call)
        client = call.client("apigatewayv2")
        getattr(client, f"update_{self.noun}")(ApiId=api, **{self.id_key: part}, **self._arguments(call))
        return {}

    def delete(self, call: Call) -> None:
        api, part = self._where(call)
        client = call.client("apigatewayv2")
        unless_gone(lambda: getattr(client, f"delete_{self.noun}")(ApiId=api, **{self.id_key: part}))


class Api(ResourceType):
    """`aws:apigatewayv2/api:Api`; the id is the API id."""

    token = "aws:apigatewayv2/api:Api"
    spec = """name protocolType! description version corsConfiguration disableExecuteApiEndpoint=false
        routeSelectionExpression="$request.method $request.path" ipAddressType? tags"""
    auto = AutoName("name", 128)
    import_id = "the API's id"
    settings: ClassVar[Any] = (
        "name",
        "description",
        "version",
        "corsConfiguration",
        "disableExecuteApiEndpoint",
        "routeSelectionExpression",
    )

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        api = answer["ApiId"]
        return {
            "apiEndpoint": answer.get("ApiEndpoint", ""),
            "arn": f"arn:aws:apigateway:{call.region}::/apis/{api}",
            "executionArn": call.arn("execute-api", api),
            "name": answer["Name"],
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        answer = call.client("apigatewayv2").create_api(
            ProtocolType=call.inputs["protocolType"],
            Tags=call.tags,
            **fill(self, call.inputs, *self.settings),
        )
        return answer["ApiId"], self._chosen(call, answer)

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("apigatewayv2").get_api(ApiId=call.id))
        if answer is None:
            return None
        return {
            "protocolType": answer["ProtocolType"],
            "tags": tag_map(answer.get("Tags", {})),
            **take(self, answer, *self.settings),
            **self._chosen(call, answer),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("apigatewayv2")
        client.update_api(ApiId=call.id, **fill(self, call.inputs, *self.settings))
        _retag_api(call, call.old["arn"])
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("apigatewayv2").delete_api(ApiId=call.id))


def _retag_api(call: Call, arn: str) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("apigatewayv2")
    if removed:
        client.untag_resource(ResourceArn=arn, TagKeys=removed)
    if added:
        client.tag_resource(ResourceArn=arn, Tags=added)


class Integration(_ApiPart):
    """`aws:apigatewayv2/integration:Integration`."""

    token = "aws:apigatewayv2/integration:Integration"
    spec = """apiId! integrationType! integrationUri integrationMethod? integrationSubtype! connectionType="INTERNET"
        connectionId credentialsArn description payloadFormatVersion="1.0" requestParameters
        timeoutMilliseconds? passthroughBehavior?"""
    noun, id_key = "integration", "IntegrationId"
    import_id = "api-id/integration-id"
    settings: ClassVar[Any] = (
        *("integrationType", "integrationUri", "integrationMethod", "integrationSubtype", "connectionType"),
        *("connectionId", "credentialsArn", "description", "payloadFormatVersion", "requestParameters"),
        *("timeoutMilliseconds", "passthroughBehavior"),
    )


class ApiRoute(_ApiPart):
    """`aws:apigatewayv2/route:Route`."""

    token = "aws:apigatewayv2/route:Route"
    spec = """apiId! routeKey target authorizationType="NONE" authorizerId authorizationScopes~ apiKeyRequired=false
        operationName"""
    noun, id_key = "route", "RouteId"
    import_id = "api-id/route-id"
    settings: ClassVar[Any] = (
        *("routeKey", "target", "authorizationType", "authorizerId", "authorizationScopes"),
        *("apiKeyRequired", "operationName"),
    )


class Stage(_ApiPart):
    """`aws:apigatewayv2/stage:Stage`; the id is the stage's name."""

    token = "aws:apigatewayv2/stage:Stage"
    spec = """apiId! name! autoDeploy=false description accessLogSettings defaultRouteSettings? stageVariables
        deploymentId? tags"""
    auto = AutoName("name", 128)
    noun, id_key = "stage", "StageName"
    import_id = "api-id/name"
    settings: ClassVar[Any] = (
        "autoDeploy",
        "description",
        "accessLogSettings",
        "defaultRouteSettings",
        "stageVariables",
        "deploymentId",
    )

    def create(self, call: Call) -> Made:
        answer = call.client("apigatewayv2").create_stage(
            ApiId=call.inputs["apiId"], StageName=call.inputs["name"], Tags=call.tags, **self._arguments(call)
        )
        return call.inputs["name"], self.chosen(call, answer)

    def chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        api = call.inputs.get("apiId") or self._where(call)[0]
        name = answer["StageName"]
        tail = "" if name == "$default" else name
        return {
            "name": name,
            "arn": f"arn:aws:apigateway:{call.region}::/apis/{api}/stages/{name}",
            "executionArn": call.arn("execute-api", f"{api}/{name}"),
            "invokeUrl": f"https://{api}.execute-api.{call.region}.amazonaws.com/{tail}",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        found = super().read(call)
        if found is not None:
            api, name = self._where(call)
            answer = call.client("apigatewayv2").get_stage(ApiId=api, StageName=name)
            found["tags"] = tag_map(answer.get("Tags", {}))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        if call.changed - {"tags"}:
            super().update(call)
        _retag_api(call, call.old["arn"])
        return {}


_SCALING_KEYS = ("serviceNamespace", "resourceId", "scalableDimension")


class ScalingTarget(ResourceType):
    """`aws:appautoscaling/target:Target`; the id is the resource id."""

    token = "aws:appautoscaling/target:Target"
    spec = """serviceNamespace! resourceId! scalableDimension! minCapacity maxCapacity roleArn!? suspendedState? tags"""
    import_id = "namespace/resource-id/dimension"

    def _where(self, call: Call) -> tuple[str, str, str]:
        if call.old.get("serviceNamespace"):
            return tuple(call.old[k] for k in _SCALING_KEYS)
        namespace, _, rest = call.id.partition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension

    def _register(self, call: Call, tags: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = call.client("application-autoscaling").register_scalable_target(
            **fill(
                self,
                call.inputs,
                *_SCALING_KEYS,
                "minCapacity",
                "maxCapacity",
                "roleArn",
                "suspendedState",
                names={"roleArn": "RoleARN"},
            ),
            **({"Tags": tags} if tags else {}),
        )
        return answer

    def create(self, call: Call) -> Made:
        answer = self._register(call, call.tags)
        arn = answer.get("ScalableTargetARN") or call.arn("application-autoscaling", "scalable-target/0")
        role = call.get("roleArn") or self._linked_role(call)
        return call.inputs["resourceId"], {"arn": arn, "roleArn": role, "region": call.region}

    def _linked_role(self, call: Call) -> str:
        service = {"lambda": "LambdaConcurrency", "ecs": "ECSService"}.get(
            call.inputs["serviceNamespace"], "Target"
        )
        return call.aws.arn(
            "iam",
            f"role/aws-service-role/{call.inputs['serviceNamespace']}.application-autoscaling.amazonaws.com/"
            f"AWSServiceRoleForApplicationAutoScaling_{service}",
            region="",
        )

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension = self._where(call)
        client = call.client("application-autoscaling")
        answer = client.describe_scalable_targets(
            ServiceNamespace=namespace, ResourceIds=[resource], ScalableDimension=dimension
        )
        if not answer["ScalableTargets"]:
            return None
        target = answer["ScalableTargets"][0]
        found = {
            "id": resource,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "minCapacity": target["MinCapacity"],
            "maxCapacity": target["MaxCapacity"],
            "roleArn": target.get("RoleARN", ""),
            "arn": target.get("ScalableTargetARN") or call.old.get("arn", ""),
            "region": call.region,
        }
        if found["arn"]:
            found["tags"] = tag_map(client.list_tags_for_resource(ResourceARN=found["arn"]).get("Tags", {}))
        if call.old.get("suspendedState"):
            found.update(take(self, target, "suspendedState"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        self._register(call, {})
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            client = call.client("application-autoscaling")
            if removed:
                client.untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(ResourceARN=call.old["arn"], Tags=added)
        return {}

    def delete(self, call: Call) -> None:
        namespace, resource, dimension = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").deregister_scalable_target(
                ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
            )
        )


_BOUNDS = ("metricIntervalLowerBound", "metricIntervalUpperBound")


class ScalingPolicy(ResourceType):
    """`aws:appautoscaling/policy:Policy`; the id is the policy's name."""

    token = "aws:appautoscaling/policy:Policy"
    spec = """name! serviceNamespace! resourceId! scalableDimension! policyType="StepScaling"
        stepScalingPolicyConfiguration targetTrackingScalingPolicyConfiguration"""
    auto = AutoName("name", 255)
    moves = ("alarmArns",)
    import_id = "namespace/resource-id/dimension/name"
    names: ClassVar[Any] = {"customizedMetricSpecification": "CustomizedMetricSpecification"}

    def _put(self, call: Call) -> dict[str, Any]:
        arguments = fill(
            self,
            call.inputs,
            *_SCALING_KEYS,
            "policyType",
            "targetTrackingScalingPolicyConfiguration",
            "stepScalingPolicyConfiguration",
        )
        steps = arguments.get("StepScalingPolicyConfiguration", {}).get("StepAdjustments", [])
        for step in steps:
            for bound in ("MetricIntervalLowerBound", "MetricIntervalUpperBound"):
                if bound in step:
                    step[bound] = float(step[bound])
        answer: dict[str, Any] = call.client("application-autoscaling").put_scaling_policy(
            PolicyName=call.inputs["name"], **arguments
        )
        return {
            "arn": answer["PolicyARN"],
            "alarmArns": [a["AlarmARN"] for a in answer.get("Alarms", [])],
            "name": call.inputs["name"],
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        return call.inputs["name"], self._put(call)

    def _where(self, call: Call) -> tuple[str, str, str, str]:
        if call.old.get("serviceNamespace"):
            return (*(call.old[k] for k in _SCALING_KEYS), call.old["name"])
        namespace, _, rest = call.id.partition("/")
        rest, _, name = rest.rpartition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension, name

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension, name = self._where(call)
        answer = call.client("application-autoscaling").describe_scaling_policies(
            ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension, PolicyNames=[name]
        )
        if not answer["ScalingPolicies"]:
            return None
        policy = answer["ScalingPolicies"][0]
        found = {
            "id": name,
            "name": name,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "arn": policy["PolicyARN"],
            "alarmArns": [a["AlarmARN"] for a in policy.get("Alarms", [])],
            "region": call.region,
            **take(
                self,
                policy,
                "policyType",
                "stepScalingPolicyConfiguration",
                "targetTrackingScalingPolicyConfiguration",
            ),
        }
        had = (call.old.get("stepScalingPolicyConfiguration") or {}).get("stepAdjustments") or []
        given = [s.get(b) for s in had for b in _BOUNDS if s.get(b) is not None]
        for step in (found.get("stepScalingPolicyConfiguration") or {}).get("stepAdjustments", []):
            for bound in _BOUNDS:
                if step.get(bound) is not None:
                    # Text in the program, a number in the API: keep the program's way of writing it.
                    same = [g for g in given if float(g) == float(step[bound])]
                    step[bound] = same[0] if same else f"{float(step[bound]):g}"
        return found

    def update(self, call: Call) -> dict[str, Any]:
        return self._put(call)

    def delete(self, call: Call) -> None:
        namespace, resource, dimension, name = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").delete_scaling_policy(
                PolicyName=name, ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
            )
        )


class ScheduledAction(ResourceType):
    """`aws:appautoscaling/scheduledAction:ScheduledAction`; the id is `name-namespace-resource`."""

    token = "aws:appautoscaling/scheduledAction:ScheduledAction"
    spec = """name! serviceNamespace! resourceId! scalableDimension! schedule scalableTargetAction timezone="UTC"
        startTime endTime"""
    auto = AutoName("name", 255)
    import_id = "namespace/resource-id/dimension/name"

    def _put(self, call: Call) -> None:
        call.client("application-autoscaling").put_scheduled_action(
            ScheduledActionName=call.inputs["name"],
            **fill(
                self,
                call.inputs,
                *_SCALING_KEYS,
                "schedule",
                "scalableTargetAction",
                "timezone",
                "startTime",
                "endTime",
            ),
        )

    def create(self, call: Call) -> Made:
        self._put(call)
        client = call.client("application-autoscaling")
        answer = client.describe_scheduled_actions(
            ServiceNamespace=call.inputs["serviceNamespace"], ScheduledActionNames=[call.inputs["name"]]
        )
        found = answer.get("ScheduledActions", [])
        id_ = f"{call.inputs['name']}-{call.inputs['serviceNamespace']}-{call.inputs['resourceId']}"
        return id_, {
            "arn": found[0]["ScheduledActionARN"] if found else "",
            "name": call.inputs["name"],
            "region": call.region,
        }

    def _where(self, call: Call) -> tuple[str, str, str, str]:
        if call.old.get("serviceNamespace"):
            return (*(call.old[k] for k in _SCALING_KEYS), call.old["name"])
        namespace, _, rest = call.id.partition("/")
        rest, _, name = rest.rpartition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension, name

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension, name = self._where(call)
        answer = call.client("application-autoscaling").describe_scheduled_actions(
            ServiceNamespace=namespace,
            ResourceId=resource,
            ScalableDimension=dimension,
            ScheduledActionNames=[name],
        )
        if not answer.get("ScheduledActions"):
            return None
        action = answer["ScheduledActions"][0]
        found = {
            "id": f"{name}-{namespace}-{resource}",
            "name": name,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "arn": action["ScheduledActionARN"],
            "timezone": action.get("Timezone", "UTC"),
            "region": call.region,
            **take(self, action, "schedule", "scalableTargetAction"),
        }
        for mine in ("startTime", "endTime"):
            if call.old.get(mine):
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call)
        return {}

    def delete(self, call: Call) -> None:
        namespace, resource, dimension, name = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").delete_scheduled_action(
                ServiceNamespace=namespace,
                ScheduledActionName=name,
                ResourceId=resource,
                ScalableDimension=dimension,
            )
        )


TYPES: tuple[type[ResourceType], ...] = (
    StateMachine,
    Schedule,
    ScheduleGroup,
    HttpNamespace,
    PrivateDnsNamespace,
    DiscoveryService,
    Api,
    Integration,
    ApiRoute,
    Stage,
    ScalingTarget,
    ScalingPolicy,
    ScheduledAction,
)
