"""Lambda of the embedded cloud: its whole API, with functions that run as real processes."""

from keepwarm_localcloud.services.lambda_.invocations import InvokeResult
from keepwarm_localcloud.services.lambda_.service import LambdaService

__all__ = ["InvokeResult", "LambdaService"]
