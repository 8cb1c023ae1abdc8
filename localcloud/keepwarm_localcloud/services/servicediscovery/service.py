"""The API of Cloud Map. https://docs.aws.amazon.com/cloud-map/latest/api/Welcome.html

DNS itself isn't served: callers use `DiscoverInstances`, which is how the GPU service is found. Operations that AWS
runs in the background are done when the call returns; `GetOperation` says so.
"""

import re
import secrets
import threading
from typing import Any

from keepwarm_localcloud.ports import RegistryPort
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.dispatch import operation_named
from keepwarm_localcloud.services.servicediscovery.model import Instance, Namespace, Registry

CONTENT_TYPE = "application/x-amz-json-1.1"
HTTP_NAME = re.compile(r"[!-~]{1,1024}")
DNS_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}\.?")
SERVICE_NAME = re.compile(r"[A-Za-z0-9_.~-]{1,127}")
IPV4 = re.compile(r"(\d{1,3}\.){3}\d{1,3}")


class ServiceDiscoveryService(RegistryPort):
    """Cloud Map. `register` and `deregister` are what ECS uses in process."""

    name = "servicediscovery"

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.services: dict[str, Registry] = {}
        self._operations: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        self.context: Context

    def start(self, context: Context) -> None:
        """Attach to the cloud."""
        self.context = context

    def stop(self) -> None:
        """Nothing runs."""

    def inventory(self) -> dict[str, list[str]]:
        """Namespaces, services and instances."""
        found = {
            "namespace": sorted(n.name for n in self.namespaces.values()),
            "service": sorted(s.name for s in self.services.values()),
            "instance": sorted(i for s in self.services.values() for i in s.instances),
        }
        return {kind: names for kind, names in found.items() if names}

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `Route53AutoNaming`."""
        method = operation_named(self, request.target())
        if method is None:
            raise AwsError(
                "UnknownOperationException", f"Cloud Map has no operation '{request.target()}' here"
            )
        with self._lock:
            return Response.of_json(method(request.json()), content_type=CONTENT_TYPE)

    # In-process use

    def has_service(self, identity: str) -> bool:
        """Tell whether a service exists."""
        return identity in self.services

    def register(self, service_ref: str, instance_id: str, attributes: dict[str, str]) -> None:
        """Register an instance, replacing one of the same id.

        Raises:
            AwsError: `ServiceNotFound`.
        """
        with self._lock:
            service = self._service(service_ref)
            service.instances[instance_id] = Instance(
                instance_id, attributes, attributes.get("AWS_INIT_HEALTH_STATUS", "HEALTHY") == "HEALTHY"
            )
            service.revision += 1

    def deregister(self, service_ref: str, instance_id: str) -> None:
        """Forget an instance; one that isn't there is fine.

        Raises:
            AwsError: `ServiceNotFound`.
        """
        with self._lock:
            service = self._service(service_ref)
            if service.instances.pop(instance_id, None) is not None:
                service.revision += 1

    # Namespaces

    def _operation(self, kind: str, targets: dict[str, str]) -> dict[str, Any]:
        identity, now_s = secrets.token_hex(16), self.context.clock.now_s()
        self._operations[identity] = {
            "Id": identity, "Type": kind, "Status": "SUCCESS", "CreateDate": now_s, "UpdateDate": now_s,
            "Targets": targets,
        }  # fmt: skip
        return {"OperationId": identity}

    def _do_create_http_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create(body, "HTTP", HTTP_NAME, {"HttpProperties": {"HttpName": body.get("Name", "")}})

    def _do_create_private_dns_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("Vpc"):
            raise AwsError("InvalidInput", "Vpc is required")
        return self._create(body, "DNS_PRIVATE", DNS_NAME, self._dns(body))

    def _do_create_public_dns_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create(body, "DNS_PUBLIC", DNS_NAME, self._dns(body))

    @staticmethod
    def _dns(body: dict[str, Any]) -> dict[str, Any]:
        soa = body.get("Properties", {}).get("DnsProperties", {}).get("SOA", {"TTL": 15})
        zone = f"Z{secrets.token_hex(10).upper()}"
        return {
            "DnsProperties": {"HostedZoneId": zone, "SOA": soa},
            "HttpProperties": {"HttpName": body["Name"]},
        }

    def _create(
        self, body: dict[str, Any], kind: str, pattern: re.Pattern[str], properties: dict[str, Any]
    ) -> dict[str, Any]:
        name = body.get("Name", "")
        if pattern.fullmatch(name) is None:
            raise AwsError("InvalidInput", f"The namespace name '{name}' is not valid")
        known = next((n for n in self.namespaces.values() if n.name == name), None)
        if known is not None:
            raise AwsError(
                "NamespaceAlreadyExists",
                f"Namespace {name} already exists",
                extra={"NamespaceId": known.identity},
            )
        identity = f"ns-{secrets.token_hex(8)}"
        self.namespaces[identity] = Namespace(
            identity, self._arn("namespace", identity), name, kind, body.get("Description", ""), properties,
            self.context.clock.now_s(), list(body.get("Tags", [])),
        )  # fmt: skip
        return self._operation("CREATE_NAMESPACE", {"NAMESPACE": identity})

    def _arn(self, kind: str, identity: str) -> str:
        return f"arn:aws:servicediscovery:{self.context.region}:{self.context.account_id}:{kind}/{identity}"

    def _namespace(self, ref: str) -> Namespace:
        namespace = self.namespaces.get(ref.rpartition("/")[2])
        if namespace is None:
            raise AwsError("NamespaceNotFound", f"Can't find namespace {ref}")
        return namespace

    def _shown(self, namespace: Namespace) -> dict[str, Any]:
        count = sum(s.namespace is namespace for s in self.services.values())
        return {
            "Id": namespace.identity, "Arn": namespace.arn, "Name": namespace.name, "Type": namespace.kind,
            "Description": namespace.description, "ServiceCount": count, "Properties": namespace.properties,
            "CreateDate": namespace.created_s,
        }  # fmt: skip

    def _do_get_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Namespace": self._shown(self._namespace(body.get("Id", "")))}

    def _do_list_namespaces(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = {f["Name"]: f.get("Values", []) for f in body.get("Filters", [])}
        found = [
            self._shown(n) for n in self.namespaces.values()
            if ("TYPE" not in wanted or n.kind in wanted["TYPE"]) and ("NAME" not in wanted or n.name in wanted["NAME"])
        ]  # fmt: skip
        return {"Namespaces": found}

    def _do_delete_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        namespace = self._namespace(body.get("Id", ""))
        if any(s.namespace is namespace for s in self.services.values()):
            raise AwsError("ResourceInUse", "Namespace has services; delete them first")
        del self.namespaces[namespace.identity]
        return self._operation("DELETE_NAMESPACE", {"NAMESPACE": namespace.identity})

    def _do_update_http_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        namespace = self._namespace(body.get("Id", ""))
        namespace.description = body.get("Namespace", {}).get("Description", namespace.description)
        return self._operation("UPDATE_NAMESPACE", {"NAMESPACE": namespace.identity})

    def _do_update_private_dns_namespace(self, body: dict[str, Any]) -> dict[str, Any]:
        namespace = self._namespace(body.get("Id", ""))
        soa = body.get("Namespace", {}).get("Properties", {}).get("DnsProperties", {}).get("SOA")
        if soa:
            namespace.properties["DnsProperties"]["SOA"] = soa
        return self._do_update_http_namespace(body)

    def _do_get_operation(self, body: dict[str, Any]) -> dict[str, Any]:
        operation = self._operations.get(body.get("OperationId", ""))
        if operation is None:
            raise AwsError("OperationNotFound", f"Can't find operation {body.get('OperationId')}")
        return {"Operation": operation}

    def _do_list_operations(self, _body: dict[str, Any]) -> dict[str, Any]:
        return {"Operations": [{"Id": o["Id"], "Status": o["Status"]} for o in self._operations.values()]}

    # Services

    def _service(self, ref: str) -> Registry:
        service = self.services.get(ref.rpartition("/")[2])
        if service is None:
            raise AwsError("ServiceNotFound", f"Can't find service {ref}")
        return service

    def _do_create_service(self, body: dict[str, Any]) -> dict[str, Any]:
        dns = body.get("DnsConfig") or {}
        namespace = self._namespace(body.get("NamespaceId") or dns.get("NamespaceId", ""))
        name = body.get("Name", "")
        if SERVICE_NAME.fullmatch(name) is None:
            raise AwsError("InvalidInput", f"The service name '{name}' is not valid")
        if dns and namespace.kind == "HTTP":
            raise AwsError("InvalidInput", "DnsConfig can't be specified for a service of an HTTP namespace")
        if body.get("HealthCheckConfig") and body.get("HealthCheckCustomConfig"):
            raise AwsError(
                "InvalidInput", "Only one of HealthCheckConfig and HealthCheckCustomConfig is allowed"
            )
        if body.get("HealthCheckConfig") and namespace.kind == "DNS_PRIVATE":
            raise AwsError("InvalidInput", "HealthCheckConfig is only for public DNS namespaces")
        known = next((s for s in self.services.values() if s.namespace is namespace and s.name == name), None)
        if known is not None:
            raise AwsError(
                "ServiceAlreadyExists", f"Service already exists: {name}", extra={"ServiceId": known.identity}
            )
        identity = f"srv-{secrets.token_hex(8)}"
        keep = ("Description", "DnsConfig", "HealthCheckConfig", "HealthCheckCustomConfig")
        service = Registry(
            identity, self._arn("service", identity), name, namespace, {k: body[k] for k in keep if body.get(k)},
            self.context.clock.now_s(), list(body.get("Tags", [])),
        )  # fmt: skip
        self.services[identity] = service
        return {"Service": self._described(service)}

    @staticmethod
    def _described(service: Registry) -> dict[str, Any]:
        kind = (
            "HTTP"
            if service.namespace.kind == "HTTP"
            else "DNS_HTTP"
            if service.body.get("DnsConfig")
            else "HTTP"
        )
        return {
            "Id": service.identity, "Arn": service.arn, "Name": service.name, "Type": kind,
            "NamespaceId": service.namespace.identity, "InstanceCount": len(service.instances),
            "CreateDate": service.created_s, **service.body,
        }  # fmt: skip

    def _do_get_service(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Service": self._described(self._service(body.get("Id", "")))}

    def _do_list_services(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = [v.rpartition("/")[2] for f in body.get("Filters", []) for v in f.get("Values", [])]
        found = [s for s in self.services.values() if not wanted or s.namespace.identity in wanted]
        return {"Services": [self._described(s) for s in found]}

    def _do_update_service(self, body: dict[str, Any]) -> dict[str, Any]:
        service, change = self._service(body.get("Id", "")), body.get("Service", {})
        service.body["Description"] = change.get("Description", service.body.get("Description", ""))
        if "DnsConfig" in change:
            service.body["DnsConfig"] = {**service.body.get("DnsConfig", {}), **change["DnsConfig"]}
        return self._operation("UPDATE_SERVICE", {"SERVICE": service.identity})

    def _do_delete_service(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._service(body.get("Id", ""))
        if service.instances:
            raise AwsError("ResourceInUse", "Service contains registered instances; delete them first.")
        del self.services[service.identity]
        return {}

    def _do_get_service_attributes(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._service(body.get("ServiceId", ""))
        return {"ServiceAttributes": {"ServiceArn": service.arn, "Attributes": service.attributes}}

    def _do_update_service_attributes(self, body: dict[str, Any]) -> dict[str, Any]:
        self._service(body.get("ServiceId", "")).attributes.update(body.get("Attributes", {}))
        return {}

    # Instances

    def _do_register_instance(self, body: dict[str, Any]) -> dict[str, Any]:
        service, attributes = self._service(body.get("ServiceId", "")), body.get("Attributes", {})
        records = [r["Type"] for r in service.body.get("DnsConfig", {}).get("DnsRecords", [])]
        address = attributes.get("AWS_INSTANCE_IPV4")
        if address is not None and IPV4.fullmatch(address) is None:
            raise AwsError("InvalidInput", f"AWS_INSTANCE_IPV4 is not an IPv4 address: {address}")
        if "A" in records and address is None and "AWS_ALIAS_DNS_NAME" not in attributes:
            raise AwsError("InvalidInput", "AWS_INSTANCE_IPV4 is required for a service with an A record")
        if "SRV" in records and "AWS_INSTANCE_PORT" not in attributes:
            raise AwsError("InvalidInput", "AWS_INSTANCE_PORT is required for a service with an SRV record")
        identity = body.get("InstanceId", "")
        self.register(service.identity, identity, dict(attributes))
        return self._operation("REGISTER_INSTANCE", {"INSTANCE": identity, "SERVICE": service.identity})

    def _do_deregister_instance(self, body: dict[str, Any]) -> dict[str, Any]:
        service, identity = self._service(body.get("ServiceId", "")), body.get("InstanceId", "")
        if identity not in service.instances:
            raise AwsError("InstanceNotFound", f"Can't find instance {identity}")
        self.deregister(service.identity, identity)
        return self._operation("DEREGISTER_INSTANCE", {"INSTANCE": identity, "SERVICE": service.identity})

    def _instance(self, body: dict[str, Any]) -> Instance:
        service, identity = self._service(body.get("ServiceId", "")), body.get("InstanceId", "")
        if identity not in service.instances:
            raise AwsError("InstanceNotFound", f"Can't find instance {identity}")
        return service.instances[identity]

    def _do_get_instance(self, body: dict[str, Any]) -> dict[str, Any]:
        instance = self._instance(body)
        return {"Instance": {"Id": instance.identity, "Attributes": instance.attributes}}

    def _do_list_instances(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._service(body.get("ServiceId", ""))
        return {
            "Instances": [{"Id": i.identity, "Attributes": i.attributes} for i in service.instances.values()]
        }

    def _do_get_instances_health_status(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._service(body.get("ServiceId", ""))
        return {
            "Status": {
                i.identity: "HEALTHY" if i.healthy else "UNHEALTHY" for i in service.instances.values()
            }
        }

    def _do_update_instance_custom_health_status(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._service(body.get("ServiceId", ""))
        if "HealthCheckCustomConfig" not in service.body:
            raise AwsError("CustomHealthNotFound", "The service has no custom health check")
        self._instance(body).healthy = body.get("Status") == "HEALTHY"
        service.revision += 1
        return {}

    def _find(self, body: dict[str, Any]) -> Registry:
        namespace = next((n for n in self.namespaces.values() if n.name == body.get("NamespaceName")), None)
        if namespace is None:
            raise AwsError("NamespaceNotFound", f"Can't find namespace {body.get('NamespaceName')}")
        for service in self.services.values():
            if service.namespace is namespace and service.name == body.get("ServiceName"):
                return service
        raise AwsError("ServiceNotFound", f"Can't find service {body.get('ServiceName')}")

    def _do_discover_instances(self, body: dict[str, Any]) -> dict[str, Any]:
        service = self._find(body)
        query, optional = body.get("QueryParameters", {}), body.get("OptionalParameters", {})
        found = [i for i in service.instances.values() if query.items() <= i.attributes.items()]
        narrowed = [i for i in found if optional.items() <= i.attributes.items()]
        found = narrowed or found
        status = body.get("HealthStatus", "HEALTHY_OR_ELSE_ALL")
        healthy = [i for i in found if i.healthy]
        chosen = {
            "HEALTHY": healthy,
            "UNHEALTHY": [i for i in found if not i.healthy],
            "ALL": found,
            "HEALTHY_OR_ELSE_ALL": healthy or found,
        }.get(status)
        if chosen is None:
            raise AwsError("InvalidInput", f"HealthStatus '{status}' is not valid")
        instances = [
            {
                "InstanceId": i.identity, "NamespaceName": service.namespace.name, "ServiceName": service.name,
                "HealthStatus": "HEALTHY" if i.healthy else "UNHEALTHY", "Attributes": i.attributes,
            }
            for i in chosen
        ]  # fmt: skip
        return {
            "Instances": instances[: body.get("MaxResults") or 100],
            "InstancesRevision": service.revision,
        }

    def _do_discover_instances_revision(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"InstancesRevision": self._find(body).revision}

    # Tags

    def _tagged(self, arn: str) -> list[dict[str, str]]:
        return self._namespace(arn).tags if ":namespace/" in arn else self._service(arn).tags

    def _do_list_tags_for_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self._tagged(body.get("ResourceARN", ""))}

    def _do_tag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._tagged(body.get("ResourceARN", ""))
        fresh = {t["Key"]: t["Value"] for t in tags} | {t["Key"]: t["Value"] for t in body.get("Tags", [])}
        tags[:] = [{"Key": k, "Value": v} for k, v in fresh.items()]
        return {}

    def _do_untag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._tagged(body.get("ResourceARN", ""))
        tags[:] = [t for t in tags if t["Key"] not in body.get("TagKeys", [])]
        return {}
