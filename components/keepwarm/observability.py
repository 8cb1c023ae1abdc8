"""What one looks at, and what rings: a dashboard by cold-start phase, and alarms on budgets and Goodput."""

import pulumi
from pulumi_aws import cloudwatch, sns

from keepwarm import _json
from keepwarm.iam import documents
from keepwarm.watch.alarms import make_alarms
from keepwarm.watch.dashboard import widgets
from keepwarm.watch.spec import ObservabilityArgs, ObservabilitySpec


class Observability(pulumi.ComponentResource):
    """Shows every cold-start phase, and rings when a budget or the Goodput is missed."""

    dashboard_name: pulumi.Output[str]
    """Name of the dashboard."""
    topic_arn: pulumi.Output[str]
    """ARN of the topic the alarms notify (the first one, when several were given)."""

    def __init__(
        self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = ObservabilitySpec.of(name, args)
        super().__init__("keepwarm:index:Observability", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        topics = list(spec.alarm_topic_arns)
        if not topics:
            own = sns.Topic(f"{name}-alarms", kms_master_key_id=spec.kms_key_arn, tags=spec.tags, opts=child)
            topics.append(own.arn)
        topic = pulumi.Output.from_input(topics[0])
        goodput = make_alarms(self, name, spec, topics)
        dashboard = cloudwatch.Dashboard(
            f"{name}-dashboard",
            # A dashboard must be named and the account has one name space; an alarm's physical name is unique already.
            dashboard_name=goodput.name.apply(lambda physical: physical.replace("-goodput", "", 1)),
            dashboard_body=_json.dumps({"widgets": widgets(spec, documents.region(self))}),
            opts=child,
        )

        self.dashboard_name = dashboard.dashboard_name
        self.topic_arn = topic
        self.register_outputs({"dashboard_name": self.dashboard_name, "topic_arn": self.topic_arn})
