"""AWS Step Functions of the embedded cloud: an interpreter of its own for Amazon States Language (JSONPath).

moto's interpreter waits in real seconds, parses with ANTLR on every start and takes any text as a definition; this
one follows the cloud's clock, spends well under a millisecond on a transition and refuses what AWS refuses.
"""

from keepwarm_localcloud.services.stepfunctions.service import StepFunctionsService

__all__ = ["StepFunctionsService"]
