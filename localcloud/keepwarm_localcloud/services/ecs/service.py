"""The API of ECS. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/Welcome.html"""

from keepwarm_localcloud.ports import TasksPort
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.dispatch import operation_named
from keepwarm_localcloud.services.ecs.api_clusters import ClustersApi
from keepwarm_localcloud.services.ecs.api_services import ServicesApi
from keepwarm_localcloud.services.ecs.state import CONTENT_TYPE


class EcsService(ClustersApi, ServicesApi, TasksPort):
    """ECS whose tasks are processes.

    Args:
        boot_s: Seconds of the clock until a new instance takes tasks. Default 1.
    """

    name = "ecs"

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `AmazonEC2ContainerServiceV20141113`."""
        method = operation_named(self, request.target())
        if method is None:
            raise AwsError("UnsupportedFeatureException", f"ECS has no operation '{request.target()}' here")
        body = request.json()
        with self.lock:
            answer = method(body)
        self.poke()
        return Response.of_json(answer, content_type=CONTENT_TYPE)
