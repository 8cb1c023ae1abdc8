"""Lambda."""

from keepwarm_localcloud.pulumi_types.base import ResourceType
from keepwarm_localcloud.pulumi_types.lambda_.calls import (
    FunctionEventInvokeConfig,
    LambdaAlias,
    Permission,
    ProvisionedConcurrencyConfig,
)
from keepwarm_localcloud.pulumi_types.lambda_.capacity import CapacityProvider
from keepwarm_localcloud.pulumi_types.lambda_.code import Function, LayerVersion
from keepwarm_localcloud.pulumi_types.lambda_.sources import EventSourceMapping

TYPES: tuple[type[ResourceType], ...] = (
    Function,
    LayerVersion,
    LambdaAlias,
    ProvisionedConcurrencyConfig,
    Permission,
    FunctionEventInvokeConfig,
    EventSourceMapping,
    CapacityProvider,
)
