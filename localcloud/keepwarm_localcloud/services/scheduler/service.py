"""Validates schedules as AWS does and invokes their targets with their role.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html
"""

import json
import logging
import random
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from keepwarm_localcloud.clockwork import schedules
from keepwarm_localcloud.clockwork.timers import Timers
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.errors import coded
from keepwarm_localcloud.services.roles import RoleCalls, botocore_error, client_error, trusts
from keepwarm_localcloud.services.scheduler.model import Plan, Run
from keepwarm_localcloud.services.sdk_calls import SdkFailure, call_api

LOG = logging.getLogger(__name__)
DEFAULT_ATTEMPTS = 185
DEFAULT_AGE_S = 86_400
"""Defaults, which are the most that can be asked for too.
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html"""
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 3600.0
TARGETS = ("lambda", "states", "sqs", "sns", "ecs", "events")
ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/.+")


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


class SchedulerService:
    """EventBridge Scheduler."""

    name = "scheduler"

    def __init__(self) -> None:
        self.random = random.Random()  # noqa: S311 - spreads runs over a window, no secret
        self._plans: dict[str, Plan] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._wake = threading.Condition()
        self._dirty = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.context: Context
        self.roles: RoleCalls
        self._timers: Timers
        self._pool: ThreadPoolExecutor

    def start(self, context: Context) -> None:
        """Attach to the cloud and start the thread."""
        self.context = context
        self.roles = RoleCalls(context)
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="scheduler")
        self._timers = Timers(context.clock, "scheduler")
        self._timers.start()
        context.moto.before("scheduler", lambda _request: self._poke())
        context.moto.before("scheduler", _leave_dates_to_us)
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the threads; a call under way is not waited for longer than its service lives."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is None:
            return
        self._thread.join()
        self._timers.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.roles.close()

    def inventory(self) -> dict[str, list[str]]:
        """Schedules and groups that are not the default."""
        backend = self.context.moto.existing_backend("scheduler")
        if backend is None:
            return {}
        found = {
            "schedule": sorted(
                s.name for g in backend.schedule_groups.values() for s in g.schedules.values()
            ),
            "scheduleGroup": sorted(n for n in backend.schedule_groups if n != "default"),
        }
        return {kind: names for kind, names in found.items() if names}

    def handle(self, request: Request) -> Response | None:
        """Check what is written; moto answers."""
        if request.method not in ("POST", "PUT") or not request.path.startswith("/schedules/"):
            return None
        body = request.json()
        self._check(body)
        # moto keeps names as they stand in the address, escapes and all.
        address = (request.raw_path or request.path).partition("?")[0]
        group, name = body.get("GroupName") or "default", address.rpartition("/")[2]
        self._written[group, name] = self.context.clock.now_s()
        # "EventBridge Scheduler uses all values, including empty values, specified in the request and overrides the
        # existing schedule": moto's update keeps no default state and never the action after completion.
        # https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html
        whole = {**body, "State": body.get("State") or "ENABLED"}
        with self.context.moto.lock("scheduler"):
            answer = self.context.moto.handle(replace(request, body=json.dumps(whole).encode()))
            if answer.status == 200:
                backend = self.context.moto.backend("scheduler", region=request.region)
                record = backend.get_schedule(group, name)
                record.action_after_completion = body.get("ActionAfterCompletion") or "NONE"
        return answer

    # Checks

    def _check(self, body: dict[str, Any]) -> None:
        if not isinstance(body.get("GroupName") or "", str):
            raise _invalid("GroupName must be a string.")
        try:
            schedule = schedules.parse(
                body.get("ScheduleExpression", ""), zone=body.get("ScheduleExpressionTimezone"), start_s=0.0
            )
        except schedules.ExpressionError as error:
            raise _invalid(str(error)) from error
        start_s, now_s = _stamp(body.get("StartDate")), self.context.clock.now_s()
        if start_s is not None and start_s < now_s - 300 and not isinstance(schedule, schedules.Once):
            raise _invalid("The StartDate you specify cannot be earlier than 5 minutes ago.")
        window = body.get("FlexibleTimeWindow") or {}
        minutes = window.get("MaximumWindowInMinutes")
        if window.get("Mode") not in ("OFF", "FLEXIBLE"):
            raise _invalid("FlexibleTimeWindow.Mode must be OFF or FLEXIBLE")
        if window["Mode"] == "OFF" and minutes is not None:
            raise _invalid("FlexibleTimeWindow MaximumWindowInMinutes must not be provided when Mode is OFF.")
        if window["Mode"] == "FLEXIBLE" and not (isinstance(minutes, int) and 1 <= minutes <= 1440):
            raise _invalid("FlexibleTimeWindow MaximumWindowInMinutes must be between 1 and 1440.")
        target = body.get("Target") or {}
        self._check_target(target)
        self._check_role(target.get("RoleArn", ""))

    @staticmethod
    def _check_target(target: dict[str, Any]) -> None:
        arn = target.get("Arn", "")
        parts = arn.split(":")
        if len(parts) < 6 or (parts[2] not in TARGETS and not arn.startswith("arn:aws:scheduler:::aws-sdk:")):
            allowed = f"{', '.join(TARGETS)} or arn:aws:scheduler:::aws-sdk:service:action"
            raise _invalid(
                coded(
                    code="KW614",
                    who="schedule target",
                    got=arn,
                    allowed=allowed,
                    because="the embedded cloud calls only these",
                    fix="choose one",
                )
            )
        if parts[2] == "ecs" and not target.get("EcsParameters", {}).get("TaskDefinitionArn"):
            raise _invalid("EcsParameters is required for an ECS target.")
        text = target.get("Input")
        if text and parts[2] in ("lambda", "states"):
            try:
                json.loads(text)
            except ValueError as error:
                raise _invalid(f"Invalid RequestJson provided. Reason {error}") from error
        queue = target.get("DeadLetterConfig", {}).get("Arn", "")
        if queue and (not queue.startswith("arn:aws:sqs:") or queue.endswith(".fifo")):
            raise _invalid("DeadLetterConfig.Arn must be the ARN of a standard SQS queue.")
        policy = target.get("RetryPolicy", {})
        for key, low, high in (
            ("MaximumRetryAttempts", 0, DEFAULT_ATTEMPTS), ("MaximumEventAgeInSeconds", 60, DEFAULT_AGE_S)
        ):  # fmt: skip
            if not low <= policy.get(key, high) <= high:
                raise _invalid(f"RetryPolicy {key} must be between {low} and {high}.")

    def _check_role(self, arn: str) -> None:
        if ROLE.fullmatch(arn) is None:
            raise _invalid(f"Provided role ARN '{arn}' is not valid.")
        if not trusts(self.context, arn, "scheduler.amazonaws.com"):
            raise _invalid(
                "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
            )

    # The thread

    def _poke(self) -> None:
        # Called under moto's lock, before the request is answered: the thread waits for that lock.
        with self._wake:
            self._dirty = True
            self._wake.notify_all()

    def _loop(self) -> None:
        while True:
            now_s = self.context.clock.now_s()
            due = [now_s + 3600.0]
            try:
                self._sync(now_s)
                due += [p.next_s for p in self._plans.values() if p.next_s is not None]
            except Exception:
                LOG.exception("the scheduler failed")
            with self._wake:
                if self._stopping:
                    return
                if not self._dirty:
                    self.context.clock.wait_until(self._wake, min(due))
                self._dirty = False

    def _sync(self, now_s: float) -> None:
        with self.context.moto.lock("scheduler"):
            backend = self.context.moto.existing_backend("scheduler")
            if backend is None:
                return
            found = {s.arn: s for g in backend.schedule_groups.values() for s in g.schedules.values()}
        for arn in set(self._plans) - set(found):
            del self._plans[arn]
        for arn, record in found.items():
            plan = self._plan(arn, record, now_s)
            while plan.next_s is not None and plan.next_s <= now_s:
                scheduled_s = plan.next_s
                plan.next_s = self._following(record, plan.schedule, scheduled_s)
                self._fire(record, scheduled_s)
                if plan.next_s is None and record.action_after_completion == "DELETE":
                    self._delete(record)

    def _plan(self, arn: str, record: Any, now_s: float) -> Plan:
        facts = (
            record.schedule_expression, record.schedule_expression_timezone, record.state, str(record.start_date),
            str(record.end_date),
        )  # fmt: skip
        fingerprint = json.dumps(facts)
        plan = self._plans.get(arn)
        if plan is None or plan.fingerprint != fingerprint:
            written_s = self._written.get((record.group_name, record.name), now_s)
            begin_s = _stamp(record.start_date) or written_s
            schedule = schedules.parse(
                record.schedule_expression, zone=record.schedule_expression_timezone, start_s=begin_s
            )
            # A new rate without a start date invokes its target immediately; an updated one after its interval.
            # https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based
            at_once = plan is None and isinstance(schedule, schedules.Rate)
            following = self._following(record, schedule, written_s - 0.001 if at_once else written_s)
            plan = self._plans[arn] = Plan(fingerprint, schedule, following)
        return plan

    @staticmethod
    def _following(record: Any, schedule: schedules.Schedule, after_s: float) -> float | None:
        if record.state != "ENABLED":
            return None
        if isinstance(schedule, schedules.Once):
            # StartDate and EndDate are ignored for one-time schedules.
            return schedule.after(after_s)
        start_s, end_s = _stamp(record.start_date), _stamp(record.end_date)
        following = schedule.after(after_s if start_s is None else max(after_s, start_s - 0.001))
        return None if following is None or (end_s is not None and following > end_s) else following

    def _delete(self, record: Any) -> None:
        with self.context.moto.lock("scheduler"):
            self.context.moto.backend("scheduler").delete_schedule(record.group_name, record.name)

    def _fire(self, record: Any, scheduled_s: float) -> None:
        run = Run(
            record.name, record.arn, json.loads(json.dumps(record.target)), scheduled_s, str(uuid.uuid4())
        )
        window = record.flexible_time_window
        at_s = scheduled_s
        if window.get("Mode") == "FLEXIBLE":
            at_s = schedules.window(scheduled_s, window["MaximumWindowInMinutes"], self.random.random())
        self._timers.at(at_s, lambda: self._submit(run))

    def _submit(self, run: Run) -> None:
        if not self._stopping:
            self._pool.submit(self._attempt, run)

    # Invocations

    def _attempt(self, run: Run) -> None:
        try:
            self._call(run)
        except (client_error(), botocore_error(), AwsError, SdkFailure) as error:
            self._failed(run, error)
        except Exception:
            LOG.exception("the target of schedule %s failed in the embedded cloud itself", run.name)
        else:
            self._note(run, "INVOKED")

    def _note(self, run: Run, state: str, error: str | None = None) -> None:
        self.context.journal.write(
            "schedule",
            schedule=run.name,
            target=run.target["Arn"],
            state=state,
            attempt=run.attempt,
            error=error,
        )

    def _input(self, run: Run) -> str:
        text = run.target.get("Input") or "{}"
        for name, value in (
            ("schedule-arn", run.arn), ("scheduled-time", _time(run.scheduled_s)), ("execution-id", run.identity),
            ("attempt-number", str(run.attempt)),
        ):  # fmt: skip
            text = text.replace(f"<aws.scheduler.{name}>", value)
        return str(text)

    def _call(self, run: Run) -> None:
        target, text = run.target, self._input(run)
        arn, role = target["Arn"], target["RoleArn"]
        parts = arn.split(":")
        service = parts[2]
        if service == "lambda":
            self.roles.function(role, arn, text.encode(), "Event")
        elif service == "states":
            self.roles.client(role, "stepfunctions").start_execution(stateMachineArn=arn, input=text)
        elif service == "sqs":
            url = f"{self.context.endpoint}/{parts[4]}/{parts[5]}"
            group = target.get("SqsParameters", {}).get("MessageGroupId")
            extra = {"MessageGroupId": group} if group else {}
            self.roles.client(role, "sqs").send_message(QueueUrl=url, MessageBody=text, **extra)
        elif service == "sns":
            self.roles.client(role, "sns").publish(TopicArn=arn, Message=text)
        elif service == "events":
            event = target.get("EventBridgeParameters", {})
            entry = {
                "DetailType": event.get("DetailType", ""),
                "Source": event.get("Source", ""),
                "Detail": text,
            }
            self.roles.client(role, "events").put_events(Entries=[{**entry, "EventBusName": arn}])
        elif service == "ecs":
            self._run_task(role, arn, target["EcsParameters"])
        else:
            name, action = parts[-2], parts[-1]
            call_api(self.roles, role, name, action, True, json.loads(text))

    def _run_task(self, role: str, cluster: str, given: dict[str, Any]) -> None:
        options: dict[str, Any] = {"taskDefinition": given["TaskDefinitionArn"], "cluster": cluster}
        options["count"] = given.get("TaskCount", 1)
        if "LaunchType" in given:
            options["launchType"] = given["LaunchType"]
        if "CapacityProviderStrategy" in given:
            options["capacityProviderStrategy"] = given["CapacityProviderStrategy"]
        network = given.get("NetworkConfiguration", {})
        network = network.get("awsvpcConfiguration") or network.get("AwsvpcConfiguration")
        if network:
            lowered = {k[:1].lower() + k[1:]: v for k, v in network.items()}
            options["networkConfiguration"] = {"awsvpcConfiguration": lowered}
        answer = self.roles.client(role, "ecs").run_task(**options)
        if answer["failures"]:
            raise AwsError("ECS.TaskFailed", json.dumps(answer["failures"]))

    def _failed(self, run: Run, error: Exception) -> None:
        policy = run.target.get("RetryPolicy", {})
        attempts = policy.get("MaximumRetryAttempts", DEFAULT_ATTEMPTS)
        age_s = policy.get("MaximumEventAgeInSeconds", DEFAULT_AGE_S)
        now_s = self.context.clock.now_s()
        pause_s = min(FIRST_RETRY_S * 2 ** (run.attempt - 1), MAX_RETRY_S)
        if run.attempt <= attempts and now_s + pause_s <= run.scheduled_s + age_s:
            self._note(run, "RETRYING", str(error))
            run.attempt += 1
            # From the failure on: whoever read of it in the journal may have moved the clock already.
            self._timers.at(now_s + pause_s, lambda: self._submit(run))
            return
        condition = "MaximumRetryAttempts" if run.attempt > attempts else "MaximumEventAgeInSeconds"
        self._note(run, "FAILED", str(error))
        queue = run.target.get("DeadLetterConfig", {}).get("Arn")
        if not queue:
            return
        code = error.response["Error"]["Code"] if isinstance(error, client_error()) else type(error).__name__
        facts = {
            "ERROR_CODE": code, "ERROR_MESSAGE": str(error), "EXHAUSTED_RETRY_CONDITION": condition,
            "RETRY_ATTEMPTS": str(run.attempt - 1), "SCHEDULE_ARN": run.arn, "TARGET_ARN": run.target["Arn"],
            "EXECUTION_ID": run.identity, "SCHEDULED_TIME": _time(run.scheduled_s), "IS_PAYLOAD_TRUNCATED": "false",
        }  # fmt: skip
        parts = queue.split(":")
        try:
            self.roles.client(run.target["RoleArn"], "sqs").send_message(
                QueueUrl=f"{self.context.endpoint}/{parts[4]}/{parts[5]}",
                MessageBody=self._input(run),
                MessageAttributes={k: {"DataType": "String", "StringValue": v} for k, v in facts.items()},
            )
        except (client_error(), botocore_error()) as problem:
            self._note(run, "DEAD_LETTER_FAILED", str(problem))


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _leave_dates_to_us(_request: Request) -> None:
    # moto compares StartDate with the machine's clock; `_check` has done it with the cloud's.
    from moto.scheduler.models import Schedule

    Schedule._validate_start_date = lambda _schedule, date: date


def _stamp(value: Any) -> float | None:
    if value in (None, ""):
        return None
    if isinstance(value, int | float):
        return float(value)
    return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
