"""API Gateway v2: HTTP APIs."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any, ClassVar

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_map,
    take,
)

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
        corsConfiguration.allowHeaders~ corsConfiguration.allowMethods~ corsConfiguration.allowOrigins~
        corsConfiguration.exposeHeaders~
        routeSelectionExpression="$request.method $request.path" tags"""
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


TYPES: tuple[type[ResourceType], ...] = (
    Api,
    Integration,
    ApiRoute,
    Stage,
)
