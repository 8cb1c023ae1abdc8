"""Invoking: synchronous, dry, or as an event for the queue of asynchronous ones; and who may."""

import base64
import json
import random
import time
import uuid
from dataclasses import dataclass
from fnmatch import fnmatchcase

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.async_events import AsyncEvents
from keepwarm_localcloud.services.lambda_.functions import Functions
from keepwarm_localcloud.services.lambda_.metrics import Metrics
from keepwarm_localcloud.services.lambda_.model import LATEST, Function, Version
from keepwarm_localcloud.services.lambda_.outcome import Call, Outcome, failed_init
from keepwarm_localcloud.services.lambda_.pool_state import Lease
from keepwarm_localcloud.services.lambda_.pools import Pools
from keepwarm_runtime.scaling import Placement


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """What a caller of Invoke gets."""

    status: int
    payload: bytes = b""
    function_error: str = ""
    executed_version: str = LATEST
    log_tail: bytes = b""
    request_id: str = ""


class Invocations:
    """Runs invocations on the pools."""

    def __init__(
        self,
        context: Context,
        functions: Functions,
        pools: Pools,
        metrics: Metrics,
        *,
        seed: int | None = None,
    ) -> None:
        self._context = context
        self._functions = functions
        self._pools = pools
        self._metrics = metrics
        self._random = random.Random(seed)  # noqa: S311 - shares of traffic, not secrets
        self.events = AsyncEvents(
            context, functions, self._run, lambda target, body: self.invoke(target, body, kind="Event")
        )

    # --- synchronous --------------------------------------------------------------------------------------------

    def invoke(
        self,
        reference: str,
        payload: bytes,
        *,
        qualifier: str | None = None,
        kind: str = "RequestResponse",
        source_arn: str | None = None,
        client_context: str = "",
        trace_id: str = "",
    ) -> InvokeResult:
        """Invoke as the API's Invoke does.

        Raises:
            AwsError: unknown function, bad or too large payload, TooManyRequestsException.
        """
        function, qualifier = self._functions.find(reference, qualifier)
        version = self._route(function, qualifier)
        self._check_payload(payload, kind)
        request_id = str(uuid.uuid4())
        if kind == "DryRun":
            return InvokeResult(204, executed_version=version.number, request_id=request_id)
        if kind == "Event":
            self.events.enqueue(function, qualifier, payload or b"{}", request_id, source_arn)
            return InvokeResult(202, executed_version=version.number, request_id=request_id)
        outcome, version = self._run(
            function,
            qualifier,
            payload or b"{}",
            request_id,
            client_context=client_context,
            trace_id=trace_id,
        )
        return InvokeResult(200, outcome.payload, outcome.error, version.number, outcome.tail, request_id)

    def _check_payload(self, payload: bytes, kind: str) -> None:
        limit = (
            limits.LAMBDA_ASYNC_PAYLOAD_MAX_BYTES if kind == "Event" else limits.LAMBDA_SYNC_PAYLOAD_MAX_BYTES
        )
        if len(payload) > limit:
            raise AwsError(
                "RequestTooLargeException",
                f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
                413,
            )
        if payload:
            try:
                json.loads(payload)
            except ValueError as error:
                raise AwsError(
                    "InvalidRequestContentException", f"Could not parse request body into json: {error}"
                ) from error

    def _route(self, function: Function, qualifier: str | None) -> Version:
        """Give the version that serves this one invocation, by the alias's weights."""
        alias = function.aliases.get(qualifier) if qualifier else None
        if alias is None:
            return self._functions.version(function, qualifier)
        number, draw = alias.version, self._random.random()
        for other, weight in alias.shown_weights().items():
            if draw < weight:
                number = other
        return self._functions.version(function, number)

    def _run(
        self,
        function: Function,
        qualifier: str | None,
        payload: bytes,
        request_id: str,
        *,
        client_context: str = "",
        trace_id: str = "",
    ) -> tuple[Outcome, Version]:
        version = self._route(function, qualifier)
        launch = self._functions.launch(function, version)
        try:
            lease = self._pools.acquire(function, version, qualifier or "", launch)
        except AwsError:
            self._metrics.add(function.name, "Throttles", 1)
            raise
        self._placed(function, qualifier, lease)
        trace = trace_id or _trace()
        call = Call(request_id, payload, function.qualified_arn(qualifier), trace, client_context)
        outcome = Outcome(b"", reusable=False)
        try:
            outcome = self._on(lease, call)
        finally:
            self._pools.release(lease, reusable=outcome.reusable)
        self._record(function, version, lease, call, outcome)
        return outcome, version

    def _placed(self, function: Function, qualifier: str | None, lease: Lease) -> None:
        """Publish what target tracking on a warm pool follows; as on AWS there is no value without invocations."""
        if lease.utilization is not None:
            self._metrics.add(
                function.name,
                "ProvisionedConcurrencyUtilization",
                lease.utilization,
                resource=f"{function.name}:{qualifier}",
            )

    def _on(self, lease: Lease, call: Call) -> Outcome:
        """Run one call in its environment, initializing it first when it is new."""
        environment = lease.environment
        if lease.placement is not Placement.COLD:
            return environment.invoke(call, init=None)
        report = environment.init(limits.LAMBDA_INIT_MAX_S)
        if report.ok:
            return environment.invoke(call, init=report)
        # Lambda runs a failed init phase again inside the invocation, on the invocation's time.
        deadline = time.monotonic() + environment.launch.timeout_s
        again = environment.init(environment.launch.timeout_s)
        if again.ok:
            again.duration_ms += report.duration_ms
            return environment.invoke(call, init=again, deadline_s=deadline)
        return environment.fail(call, failed_init(again, call, environment.launch.timeout_s))

    def _record(
        self, function: Function, version: Version, lease: Lease, call: Call, outcome: Outcome
    ) -> None:
        cold = lease.placement is Placement.COLD
        provisioned = lease.placement is Placement.PROVISIONED
        self._context.journal.write(
            "invocation",
            function=function.name,
            version=version.number,
            environment=lease.environment.id,
            request_id=call.request_id,
            cold=cold,
            pool=str(lease.environment.pool),
            duration_ms=round(outcome.duration_ms, 3),
            init_ms=None if outcome.init_ms is None else round(outcome.init_ms, 3),
            outcome=outcome.kind,
            spillover=lease.spillover,
            memory_mb=outcome.max_memory_mb,
        )
        name = function.name
        self._metrics.add(name, "Invocations", 1)
        self._metrics.add(name, "Errors", 1 if outcome.error else 0)
        self._metrics.add(name, "Duration", outcome.duration_ms, unit="Milliseconds")
        if provisioned:
            self._metrics.add(name, "ProvisionedConcurrencyInvocations", 1)
        if lease.spillover:
            self._metrics.add(name, "ProvisionedConcurrencySpilloverInvocations", 1)

    # --- for other services -------------------------------------------------------------------------------------------

    def deliver(
        self,
        function_arn: str,
        payload: bytes,
        *,
        principal: str,
        source_arn: str,
        source_account: str | None = None,
    ) -> str:
        """Invoke asynchronously on behalf of another service, if the function's resource policy lets it.

        Returns:
            The request id.

        Raises:
            AwsError: AccessDeniedException, or what Invoke refuses.
        """
        self.check_permission(
            function_arn, principal=principal, source_arn=source_arn, source_account=source_account
        )
        return self.invoke(function_arn, payload, kind="Event", source_arn=source_arn).request_id

    def check_permission(
        self, function_arn: str, *, principal: str, source_arn: str, source_account: str | None = None
    ) -> None:
        """Refuse a service that the resource policy of a function does not let in.

        Raises:
            AwsError: AccessDeniedException, or ResourceNotFoundException.
        """
        function, qualifier = self._functions.find(function_arn)
        self._functions.version(function, qualifier)
        account = source_account or self._context.account_id
        if not self.permits(function, qualifier, principal, source_arn, account):
            raise AwsError(
                "AccessDeniedException",
                f"User: {principal} is not authorized to perform: lambda:InvokeFunction on resource: {function_arn} "
                "because no resource-based policy allows the lambda:InvokeFunction action",
                403,
            )

    def permits(
        self, function: Function, qualifier: str | None, principal: str, source_arn: str, source_account: str
    ) -> bool:
        """Say whether the resource policy of a function (of that qualifier) lets a service invoke it."""
        for statement in function.policies.get(qualifier or "", {}).values():
            document = statement.document
            allowed = document["Principal"]
            who = allowed == "*" or (isinstance(allowed, dict) and allowed.get("Service") == principal)
            action = fnmatchcase("lambda:InvokeFunction", document["Action"])
            condition = document.get("Condition", {})
            arn = condition.get("ArnLike", {}).get("AWS:SourceArn")
            account = condition.get("StringEquals", {}).get("AWS:SourceAccount")
            if (
                who
                and action
                and (arn is None or fnmatchcase(source_arn, arn))
                and account in (None, source_account)
            ):
                return True
        return False


def _trace() -> str:
    """A trace header of an invocation that nobody samples."""
    root = f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    return f"Root={root};Parent={uuid.uuid4().hex[:16]};Sampled=0"


def tail_header(tail: bytes) -> str:
    """The log tail as the X-Amz-Log-Result header has it."""
    return base64.b64encode(tail).decode()
