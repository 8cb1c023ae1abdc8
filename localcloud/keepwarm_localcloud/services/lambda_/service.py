"""The service: takes requests of the REST API apart, hands them to the operations, and writes the answers."""

import json
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from keepwarm_localcloud.ports import FunctionsPort
from keepwarm_localcloud.request import Caller, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.dispatch import snake
from keepwarm_localcloud.services.lambda_.aliases import Aliases
from keepwarm_localcloud.services.lambda_.capacity import CapacityProviders
from keepwarm_localcloud.services.lambda_.code import CodeStore
from keepwarm_localcloud.services.lambda_.errors import refuse
from keepwarm_localcloud.services.lambda_.event_source_mappings import Mappings
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.invocations import Invocations, InvokeResult, tail_header
from keepwarm_localcloud.services.lambda_.layers import Layers
from keepwarm_localcloud.services.lambda_.metrics import Metrics
from keepwarm_localcloud.services.lambda_.packages import Packages
from keepwarm_localcloud.services.lambda_.pools import IDLE_S, Pools
from keepwarm_localcloud.services.lambda_.rest import Api, lambda_api
from keepwarm_localcloud.services.lambda_.runtimes import Runtimes
from keepwarm_localcloud.services.lambda_.settings import Settings
from keepwarm_localcloud.services.lambda_.watcher import Watcher


class LambdaService(FunctionsPort):
    """Lambda, complete: nothing of it is left to moto."""

    name = "lambda"

    def __init__(self, *, freeze: bool = True, idle_s: float = IDLE_S, seed: int | None = None) -> None:
        """Set what AWS leaves open.

        Args:
            freeze: stop processes between invocations (SIGSTOP), as AWS freezes environments.
            idle_s: seconds an idle on-demand environment is kept, on the cloud's clock.
            seed: of the draws that share traffic between an alias's versions; None = another each time.
        """
        self._freeze = freeze
        self._idle_s = idle_s
        self._seed = seed
        self._stopped = False

    def start(self, context: Context) -> None:
        """Attach to the cloud."""
        self._lock = threading.RLock()
        directory = context.directory / "lambda"
        runtimes = Runtimes(directory / "runtimes")
        self._watcher = Watcher(freeze=self._freeze)
        self._metrics = Metrics(context)
        packages = Packages(context, CodeStore(directory / "code", context.code_cache))
        self.layers = Layers(context, self._lock, packages)
        self.functions = Functions(context, self._lock, packages, self.layers, runtimes)
        self.pools = Pools(
            context, self._lock, self.functions.functions, runtimes, self._watcher, idle_s=self._idle_s
        )
        self.functions.pools = self.pools
        self._aliases = Aliases(self._lock, self.functions)
        self._settings = Settings(context, self._lock, self.functions, self._aliases)
        self.invocations = Invocations(context, self.functions, self.pools, self._metrics, seed=self._seed)
        self.mappings = Mappings(context, self.functions, self.invocations, self._metrics)
        self.capacity = CapacityProviders(context, self._lock, self.functions)
        self._settings.other_tags = (self.mappings.tags_of, self.capacity.tags_of)

    def stop(self) -> None:
        """End pollers, queue and environments. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self.mappings.signal_close()
        self.invocations.events.signal_close()
        self.pools.close()
        self.mappings.close()
        self.invocations.events.close()
        self._watcher.close()
        self._metrics.close()

    # --- for other services in the same cloud -------------------------------------------------------------------

    def invoke(
        self,
        function_ref: str,
        payload: bytes,
        *,
        qualifier: str | None = None,
        kind: str = "RequestResponse",
        source_arn: str | None = None,
        caller: Caller | None = None,
    ) -> InvokeResult:
        """Invoke a function in process; who may do so is for the caller to have checked (`Context.authorize`).

        Args:
            function_ref: name, partial ARN or ARN, with a qualifier or not.
            payload: the event, JSON.
            qualifier: version or alias.
            kind: `RequestResponse`, `Event` or `DryRun`.
            source_arn: resource on whose behalf, for the record.
            caller: who invokes; not checked here.

        Raises:
            AwsError: as the API's Invoke.
        """
        return self.invocations.invoke(
            function_ref, payload, qualifier=qualifier, kind=kind, source_arn=source_arn
        )

    def deliver(
        self,
        function_arn: str,
        payload: bytes,
        *,
        principal: str,
        source_arn: str,
        source_account: str | None = None,
    ) -> str:
        """Invoke asynchronously for another service after asking the function's resource policy.

        Raises:
            AwsError: AccessDeniedException, or what Invoke refuses.
        """
        return self.invocations.deliver(
            function_arn, payload, principal=principal, source_arn=source_arn, source_account=source_account
        )

    def check_permission(
        self, function_arn: str, *, principal: str, source_arn: str, source_account: str | None = None
    ) -> None:
        """Refuse a service that the resource policy of a function does not let in.

        Raises:
            AwsError: AccessDeniedException, or ResourceNotFoundException.
        """
        self.invocations.check_permission(
            function_arn, principal=principal, source_arn=source_arn, source_account=source_account
        )

    # --- HTTP ---------------------------------------------------------------------------------------------------

    @cached_property
    def _api(self) -> Api:
        return lambda_api()

    def handle(self, request: Request) -> Response:
        """Answer one request of the REST API.

        Raises:
            AwsError: every refusal.
        """
        operation, uri = self._api.match(request)
        params = self._api.parse(operation, uri, request)
        if operation.name == "Invoke":
            return self._invoke(params, request)
        perform = self._operation(operation.name)
        answer = perform(params)
        if operation.status == 204:
            return Response(204, {"Content-Type": "application/json"})
        return Response(operation.status, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _operation(self, name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        method = snake(name)
        for part in (
            self.functions,
            self._aliases,
            self.layers,
            self._settings,
            self.mappings,
            self.capacity,
        ):
            found = getattr(part, method, None)
            if found is not None:
                return found  # type: ignore[no-any-return]
        raise refuse(
            "KW625",
            f"{name}: got a request; allowed here the operations of functions, versions, aliases, layers, concurrency, "
            "permissions, events and mappings; because the embedded cloud does not have this part of Lambda; fix: "
            "deploy to AWS for it",
        )

    def _invoke(self, params: dict[str, Any], request: Request) -> Response:
        kind = params.get("InvocationType", "RequestResponse")
        result = self.invocations.invoke(
            params["FunctionName"],
            request.body,
            qualifier=params.get("Qualifier"),
            kind=kind,
            client_context=params.get("ClientContext", ""),
            trace_id=request.headers.get("x-amzn-trace-id", ""),
        )
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": result.request_id}
        if result.status == 200:
            headers["X-Amz-Executed-Version"] = result.executed_version
        if result.function_error:
            headers["X-Amz-Function-Error"] = result.function_error
        if params.get("LogType") == "Tail" and kind == "RequestResponse":
            headers["X-Amz-Log-Result"] = tail_header(result.log_tail)
        return Response(result.status, headers, result.payload)

    def inventory(self) -> dict[str, list[str]]:
        """What exists: functions, layers, mappings."""
        found = {
            "functions": sorted(self.functions.functions),
            "layers": sorted(layer.arn for v in self.layers.versions.values() for layer in v.values()),
            "event_source_mappings": sorted(self.mappings.all()),
            "capacity_providers": sorted(self.capacity.providers),
        }
        return {kind: names for kind, names in found.items() if names}
