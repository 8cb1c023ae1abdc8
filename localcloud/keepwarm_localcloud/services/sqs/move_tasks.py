"""Operations that move messages out of dead-letter queues."""

from typing import Any

from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services.sqs.checks import (
    whole_number,
)
from keepwarm_localcloud.services.sqs.state import SqsState


class MoveTasksApi(SqsState):
    """Operations that move messages out of dead-letter queues."""

    def __init__(self) -> None:
        super().__init__()
        self._moves: list[dict[str, Any]] = []

    def _do_start_message_move_task(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        source = self._by_arn(call.get("SourceArn"))
        with self._lock:
            is_target = any(
                (q.settings.get("RedrivePolicy") or {}).get("deadLetterTargetArn") == source.arn
                for q in self._queues.values()
            )
        if not is_target:
            raise AwsError("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        destination = self._by_arn(call["DestinationArn"]) if call.get("DestinationArn") else None
        moved = failed = 0
        for message in source.drain():
            target = destination
            if target is None:
                with self._lock:
                    target = self._queues.get(message.source_arn)
            if target is None:
                source.take_over(message, message.source_arn, keep_age=True)
                failed += 1
            else:
                target.take_over(message, "", keep_age=False)
                moved += 1
        handle = f"move-{len(self._moves) + 1}"
        task = {
            "TaskHandle": handle,
            "Status": "COMPLETED" if not failed else "FAILED",
            "SourceArn": source.arn,
            "ApproximateNumberOfMessagesMoved": moved,
            "ApproximateNumberOfMessagesToMove": moved + failed,
            "StartedTimestamp": int(self._context.clock.now_s() * 1000),
        }
        if destination is not None:
            task["DestinationArn"] = destination.arn
        self._moves.append(task)
        return {"TaskHandle": handle}

    def _do_list_message_move_tasks(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        source = self._by_arn(call.get("SourceArn"))
        limit = whole_number("MaxResults", call.get("MaxResults", 1), 1, 10)
        found = [t for t in reversed(self._moves) if t["SourceArn"] == source.arn][:limit]
        # Only a running task shows its handle.
        return {"Results": [{k: v for k, v in t.items() if k != "TaskHandle"} for t in found]}

    def _do_cancel_message_move_task(self, call: dict[str, Any], request: Request) -> dict[str, Any]:
        raise AwsError("ResourceNotFoundException", "Task does not exist or is no longer running.", 404)
