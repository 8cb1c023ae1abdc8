"""What a component refuses, and the codes it says it with.

One class, because a caller of a component can do one thing about all of them: change the arguments. Codes
KW100-KW159 belong to the components; the text behind a code never changes its meaning.
"""

import pulumi

CODES: dict[str, str] = {
    "KW100": "An input the component does not have.",
    "KW101": "An input of the wrong type, or a number that is none (NaN, a bool, a fraction).",
    "KW102": "A required input is missing, or inputs exclude one another.",
    "KW103": "A function timeout outside AWS's limits.",
    "KW104": "A function memory size outside AWS's limits.",
    "KW105": "An ephemeral storage size outside AWS's limits.",
    "KW106": "A model that does not fit the ephemeral storage, or whose size is unknown (a warning).",
    "KW107": "A model that does not fit the memory it must be held in.",
    "KW108": "A model load that can't finish within the init phase.",
    "KW109": "Provisioned concurrency on $LATEST.",
    "KW110": "More provisioned than reserved concurrency.",
    "KW111": "Provisioned concurrency on an alias that splits its traffic.",
    "KW112": "Provisioned concurrency and SnapStart on one function.",
    "KW113": "SnapStart with something it excludes.",
    "KW114": "An event source on a function that may never run.",
    "KW115": "A visibility timeout below the consumer's timeout.",
    "KW116": "A visibility timeout below six consumer timeouts plus the batching window.",
    "KW117": "An event source concurrency outside AWS's limits.",
    "KW118": "An event source that may run more than the function has reserved.",
    "KW119": "A batch size or batching window that SQS event sources do not take.",
    "KW120": "A dead-letter queue that loses messages.",
    "KW121": "A queue retention, delay or size outside AWS's limits.",
    "KW122": "Effect records that expire before the last redelivery.",
    "KW123": "Retries that outlast the deadline.",
    "KW124": "GPUs where there are none.",
    "KW125": "An instance type that is unknown, too small, or of another architecture.",
    "KW126": "A function URL that is open to everyone, or set in a way that Lambda refuses.",
    "KW127": "Scaling bounds that contradict one another.",
    "KW128": "A callback task without heartbeat or timeout.",
    "KW129": "A state machine type that does not take an integration pattern.",
    "KW130": "A state machine definition that AWS would refuse.",
    "KW131": "A bucket lock or retention that S3 refuses.",
    "KW132": "A COMPLIANCE lock without the confirmation it needs.",
    "KW133": "A model reference that pins nothing.",
    "KW134": "A digest that is not 64 lower-case hexadecimal digits.",
    "KW135": "A secret in plain text.",
    "KW136": "Environment variables that AWS refuses.",
    "KW137": "A grant with a wildcard.",
    "KW138": "Subnets that do not span availability zones.",
    "KW139": "A name that is too long for the service.",
    "KW140": "An ARN of the wrong service or form.",
    "KW141": "A runtime or architecture that is not supported.",
    "KW142": "A container image that is not pinned by digest.",
    "KW143": "A log retention CloudWatch does not offer.",
    "KW144": "A schedule expression AWS does not take.",
    "KW145": "A package or layers beyond AWS's limits.",
    "KW146": "A target or threshold outside its range.",
    "KW147": "A file system that Lambda can't mount.",
    "KW148": "A model manifest that does not describe its files.",
    "KW149": "A cold-start phase that does not exist.",
    "KW150": "A fan-out larger than what the service behind it takes.",
    "KW151": "A task larger than the instance that is to run it.",
    "KW152": "Health check or drain times that contradict one another.",
    "KW153": "A workflow template that does not render.",
    "KW154": "A VPC from which AWS services may not be reached (a warning).",
    "KW155": "Permit times that do not fit the function's timeout.",
    "KW156": "A deadline that ends before a sleeping service is awake and the work done.",
    "KW157": "Tags that AWS refuses.",
    "KW158": "A bucket whose notifications two components configure.",
    "KW159": "A key of your own whose policy other AWS services need (a warning).",
}
"""Every code of the components with its meaning in one line."""


class InvalidArgs(pulumi.RunError):
    """The caller passed inputs a component cannot use. One line per problem; shown without a traceback."""
