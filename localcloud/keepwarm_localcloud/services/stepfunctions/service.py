"""The API of Step Functions. https://docs.aws.amazon.com/step-functions/latest/apireference/Welcome.html"""

from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.dispatch import operation_named
from keepwarm_localcloud.services.roles import RoleCalls
from keepwarm_localcloud.services.stepfunctions.api_executions import ExecutionsApi
from keepwarm_localcloud.services.stepfunctions.api_machines import MachinesApi
from keepwarm_localcloud.services.stepfunctions.fibers import Engine

CONTENT_TYPE = "application/x-amz-json-1.0"


class StepFunctionsService(MachinesApi, ExecutionsApi):
    """Runs state machines. `name` is the signing name."""

    name = "states"

    def start(self, context: Context) -> None:
        """Attach to the cloud."""
        self.context = context
        self.roles = RoleCalls(context)
        self.engine = Engine(context.clock)
        self.engine.start()

    def stop(self) -> None:
        """Abort what runs and end every thread."""
        if not hasattr(self, "engine"):
            return
        for execution in list(self.executions.values()):
            if execution.status == "RUNNING":
                self._end(execution, "ABORTED", cause="the embedded cloud stopped")
        self.engine.stop()
        self.roles.close()

    def inventory(self) -> dict[str, list[str]]:
        """State machines and running executions."""
        running = [e.name for e in self.executions.values() if e.status == "RUNNING"]
        found = {"stateMachine": sorted(m.name for m in self.machines.values()), "execution": sorted(running)}
        return {kind: names for kind, names in found.items() if names}

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `AWSStepFunctions`."""
        operation = request.target()
        method = operation_named(self, operation)
        if method is None:
            raise AwsError("UnknownOperationException", f"Step Functions has no operation '{operation}' here")
        return Response.of_json(method(request.json()), content_type=CONTENT_TYPE)
