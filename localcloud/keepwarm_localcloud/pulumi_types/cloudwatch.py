"""CloudWatch: alarms and dashboards."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
)

_ALARM = (
    "comparisonOperator",
    "evaluationPeriods",
    "datapointsToAlarm",
    "threshold",
    "metricName",
    "namespace",
    "period",
    "statistic",
    "extendedStatistic",
    "unit",
    "treatMissingData",
    "actionsEnabled",
    "alarmActions",
    "okActions",
    "insufficientDataActions",
    "alarmDescription",
    "thresholdMetricId",
    "evaluateLowSampleCountPercentiles",
)

_ALARM_NAMES = {
    "okActions": "OKActions",
    "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
}


class MetricAlarm(ResourceType):
    """`aws:cloudwatch/metricAlarm:MetricAlarm`; the id is the name."""

    token = "aws:cloudwatch/metricAlarm:MetricAlarm"
    spec = """name! comparisonOperator evaluationPeriods datapointsToAlarm threshold metricName namespace period
        statistic extendedStatistic unit treatMissingData="missing" actionsEnabled=true alarmActions~ okActions~
        insufficientDataActions~ alarmDescription dimensions metricQueries~{id accountId expression label metric
        period returnData} thresholdMetricId evaluateLowSampleCountPercentiles? tags"""
    auto = AutoName("name", 255)
    import_id = "the alarm's name"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        period = inputs.get("period")
        if not isinstance(period, int) or period in (10, 20, 30) or (period > 0 and period % 60 == 0):
            return []
        return [
            (
                "period",
                f"KW634 got {period}; allowed 10, 20, 30 and multiples of 60; because CloudWatch takes no other",
            )
        ]

    def _put(self, call: Call, *, tags: bool) -> None:
        arguments = fill(self, call.inputs, *_ALARM, names=_ALARM_NAMES)
        if call.get("dimensions"):
            arguments["Dimensions"] = tag_list(call.inputs["dimensions"], "Name")
        queries = []
        for query in call.get("metricQueries", []):
            wanted = {k[0].upper() + k[1:]: v for k, v in query.items() if k != "metric" and v is not None}
            metric = query.get("metric")
            if metric:
                wanted["MetricStat"] = {
                    "Metric": {
                        "MetricName": metric["metricName"],
                        "Namespace": metric.get("namespace", ""),
                        "Dimensions": tag_list(metric.get("dimensions") or {}, "Name"),
                    },
                    "Period": metric["period"],
                    "Stat": metric["stat"],
                    **({"Unit": metric["unit"]} if metric.get("unit") else {}),
                }
            queries.append(wanted)
        if queries:
            arguments["Metrics"] = queries
        if tags and call.tags:
            arguments["Tags"] = tag_list(call.tags)
        call.client("cloudwatch").put_metric_alarm(AlarmName=call.inputs["name"], **arguments)

    def create(self, call: Call) -> Made:
        self._put(call, tags=True)
        name = call.inputs["name"]
        return name, {"name": name, "arn": call.arn("cloudwatch", f"alarm:{name}"), "region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        client = call.client("cloudwatch")
        answer = client.describe_alarms(AlarmNames=[call.id], AlarmTypes=["MetricAlarm"])
        if not answer.get("MetricAlarms"):
            return None
        alarm = answer["MetricAlarms"][0]
        arn = call.arn("cloudwatch", f"alarm:{call.id}")
        found = {
            "name": call.id,
            "arn": arn,
            "region": call.region,
            "tags": tag_map(client.list_tags_for_resource(ResourceARN=arn).get("Tags")),
            **take(self, alarm, *_ALARM, names=_ALARM_NAMES),
        }
        found.setdefault("treatMissingData", "missing")
        if alarm.get("Dimensions"):
            found["dimensions"] = tag_map(alarm["Dimensions"], "Name")
        if alarm.get("Metrics"):
            found["metricQueries"] = [self._query(q) for q in alarm["Metrics"]]
            # With queries the top-level metric is not set, whatever the cloud fills in for it.
            for name in ("period", "statistic", "metricName", "namespace"):
                found.pop(name, None)
        return found

    def _query(self, query: dict[str, Any]) -> dict[str, Any]:
        wanted = {
            k[0].lower() + k[1:]: v for k, v in query.items() if k != "MetricStat" and v not in (None, "")
        }
        stat = query.get("MetricStat")
        if stat:
            metric: dict[str, Any] = {
                "metricName": stat["Metric"]["MetricName"],
                "namespace": stat["Metric"].get("Namespace"),
                "period": stat["Period"],
                "stat": stat["Stat"],
            }
            if stat["Metric"].get("Dimensions"):
                metric["dimensions"] = tag_map(stat["Metric"]["Dimensions"], "Name")
            if stat.get("Unit"):
                metric["unit"] = stat["Unit"]
            wanted["metric"] = metric
        return wanted

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call, tags=False)
        _retag_cloudwatch(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("cloudwatch").delete_alarms(AlarmNames=[call.id]))


def _retag_cloudwatch(call: Call) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    if removed:
        call.client("cloudwatch").untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
    if added:
        call.client("cloudwatch").tag_resource(ResourceARN=call.old["arn"], Tags=tag_list(added))


class Dashboard(ResourceType):
    """`aws:cloudwatch/dashboard:Dashboard`; the id is the name."""

    token = "aws:cloudwatch/dashboard:Dashboard"
    spec = "dashboardName! dashboardBody:json"
    auto = AutoName("dashboardName", 255)
    import_id = "the dashboard's name"

    def create(self, call: Call) -> Made:
        name = call.inputs["dashboardName"]
        call.client("cloudwatch").put_dashboard(
            DashboardName=name, DashboardBody=call.inputs["dashboardBody"]
        )
        return name, {
            "dashboardName": name,
            "dashboardArn": f"arn:aws:cloudwatch::{call.aws.account_id}:dashboard/{name}",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = unless_gone(lambda: call.client("cloudwatch").get_dashboard(DashboardName=call.id))
        return answer and {
            "dashboardName": call.id,
            "dashboardArn": f"arn:aws:cloudwatch::{call.aws.account_id}:dashboard/{call.id}",
            "dashboardBody": answer["DashboardBody"],
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("cloudwatch").delete_dashboards(DashboardNames=[call.id]))


TYPES: tuple[type[ResourceType], ...] = (
    MetricAlarm,
    Dashboard,
)
