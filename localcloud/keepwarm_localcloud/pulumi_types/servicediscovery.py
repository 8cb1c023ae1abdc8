"""Cloud Map: namespaces and services."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import ResourceError


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


TYPES: tuple[type[ResourceType], ...] = (
    HttpNamespace,
    PrivateDnsNamespace,
    DiscoveryService,
)
