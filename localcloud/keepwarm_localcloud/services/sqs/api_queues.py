"""Operations on queues: attributes, tags, permissions."""

import json
from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services.sqs.checks import (
    READ_ONLY,
    check_attributes,
    check_name,
    defaults,
    whole_number,
)
from keepwarm_localcloud.services.sqs.queue import Queue
from keepwarm_localcloud.services.sqs.state import SqsState


class QueuesApi(SqsState):
    """Operations on queues: attributes, tags, permissions."""

    def _do_create_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        name = check_name(call.get("QueueName"))
        given = call.get("Attributes") or {}
        fifo = name.endswith(".fifo")
        if (given.get("FifoQueue") == "true") != fifo:
            raise AwsError(
                "InvalidParameterValue",
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end "
                "with .fifo suffix and be 1 to 80 in length.",
            )
        arn = self._arn(name)
        with self._lock:
            settings = self._checked(given, arn, fifo=fifo, creating=True)
            existing = self._queues.get(arn)
            if existing is not None:
                for key, value in settings.items():
                    if existing.settings.get(key, "") != value:
                        raise AwsError(
                            "QueueNameExists",
                            f"A queue already exists with the same name and a different value for attribute {key}",
                        )
                return {"QueueUrl": self._url_of(name)}
            queue = Queue(
                name,
                arn,
                self._context.clock,
                {**defaults(fifo=fifo), **{k: v for k, v in settings.items() if v != ""}},
                dead_letter_queue=self._dead_letter_queue,
                journal=self._note,
            )
            if queue.settings.get("KmsMasterKeyId"):
                queue.settings["SqsManagedSseEnabled"] = "false"
                queue.settings.setdefault("KmsDataKeyReusePeriodSeconds", 300)
            queue.tags = dict(call.get("tags") or {})
            self._queues[arn] = queue
        return {"QueueUrl": self._url_of(name)}

    def _checked(self, given: Mapping[str, str], arn: str, *, fifo: bool, creating: bool) -> dict[str, Any]:
        return check_attributes(
            given,
            fifo=fifo,
            creating=creating,
            queue_exists=self.exists,
            allows_source=lambda target: self._allows(target, arn),
        )

    def _do_delete_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            self._queues.pop(queue.arn, None)
        queue.close()
        return {}

    def _do_list_queues(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        prefix = call.get("QueueNamePrefix") or ""
        with self._lock:
            names = sorted(q.name for q in self._queues.values() if q.name.startswith(prefix))
        return self._page(call, "QueueUrls", [self._url_of(n) for n in names])

    def _page(self, call: dict[str, Any], key: str, urls: list[str]) -> dict[str, Any]:
        limit = whole_number("MaxResults", call["MaxResults"], 1, 1000) if call.get("MaxResults") else 1000
        try:
            start = int(call.get("NextToken") or 0)
        except ValueError as error:
            raise AwsError("InvalidParameterValue", "Invalid NextToken value.") from error
        page = urls[start : start + limit]
        answer: dict[str, Any] = {key: page} if page else {}
        # AWS pages only for a caller that gave MaxResults.
        if call.get("MaxResults") and start + limit < len(urls):
            answer["NextToken"] = str(start + limit)
        return answer

    def _do_get_queue_url(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        return {"QueueUrl": self._url_of(self.queue(self._arn(str(call.get("QueueName")))).name)}

    def _do_get_queue_attributes(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        wanted = call.get("AttributeNames") or []
        known = self._attributes_of(queue)
        if "All" in wanted:
            return {"Attributes": known}
        from keepwarm_localcloud.services.sqs.checks import KNOWN

        for name in wanted:
            if name not in KNOWN and name not in READ_ONLY:
                raise AwsError("InvalidAttributeName", f"Unknown Attribute {name}.")
        chosen = {n: known[n] for n in wanted if n in known}
        return {"Attributes": chosen} if chosen else {}

    def _do_set_queue_attributes(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        given = call.get("Attributes")
        if not given:
            raise AwsError("MissingParameter", "The request must contain the parameter Attribute.Name.")
        with self._lock:
            settings = self._checked(given, queue.arn, fifo=queue.fifo, creating=False)
            fresh = {**queue.settings, **settings}
            if settings.get("KmsMasterKeyId"):
                fresh["SqsManagedSseEnabled"] = "false"
                fresh.setdefault("KmsDataKeyReusePeriodSeconds", 300)
            elif settings.get("SqsManagedSseEnabled") == "true":
                fresh.pop("KmsMasterKeyId", None)
            queue.settings = {k: v for k, v in fresh.items() if v != ""}
            queue.modified_s = self._context.clock.now_s()
        # Outside the lock: a receive asks for the dead-letter queue under the queue's.
        if queue.fifo and "DelaySeconds" in settings:
            queue.delay_anew()
        return {}

    def _do_purge_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).purge()
        return {}

    def _do_tag_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        self._named(call).tags.update(call.get("Tags") or {})
        return {}

    def _do_untag_queue(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        for key in call.get("TagKeys") or []:
            queue.tags.pop(key, None)
        return {}

    def _do_list_queue_tags(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        tags = self._named(call).tags
        return {"Tags": dict(tags)} if tags else {}

    def _do_list_dead_letter_source_queues(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        target = self._named(call)
        with self._lock:
            names = sorted(
                q.name
                for q in self._queues.values()
                if (q.settings.get("RedrivePolicy") or {}).get("deadLetterTargetArn") == target.arn
            )
        return {"queueUrls": [], **self._page(call, "queueUrls", [self._url_of(n) for n in names])}

    def _do_add_permission(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            policy = self.policy(queue.arn) or {"Version": "2012-10-17", "Statement": []}
            label = str(call.get("Label"))
            if any(s.get("Sid") == label for s in policy["Statement"]):
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {label} for parameter Label is invalid. Reason: Already exists.",
                )
            policy["Statement"].append(
                {
                    "Sid": label,
                    "Effect": "Allow",
                    "Principal": {"AWS": [f"arn:aws:iam::{a}:root" for a in call.get("AWSAccountIds") or []]},
                    "Action": [f"SQS:{a}" for a in call.get("Actions") or []],
                    "Resource": queue.arn,
                }
            )
            queue.settings["Policy"] = json.dumps(policy)
        return {}

    def _do_remove_permission(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        queue = self._named(call)
        with self._lock:
            policy = self.policy(queue.arn) or {"Statement": []}
            left = [s for s in policy["Statement"] if s.get("Sid") != call.get("Label")]
            if len(left) == len(policy["Statement"]):
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {call.get('Label')} for parameter Label is invalid. Reason: can't find label.",
                )
            if left:
                queue.settings["Policy"] = json.dumps({**policy, "Statement": left})
            else:
                queue.settings.pop("Policy", None)
        return {}
