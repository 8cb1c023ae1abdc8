"""Tells how long each word of a message is, and publishes the answer once; the place for your own work."""

import json
from typing import Any

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.batch import Record, run_batch
from keepwarm_runtime.effects import Attempt, Contract
from keepwarm_runtime.warm import WARM


@runtime.handler(service="measure")
def handler(event: Any, invocation: runtime.Invocation) -> dict[str, Any]:
    """Work on a batch of the queue; what is not named as failed is deleted from it."""

    def once(record: Record) -> None:
        # However often SQS delivers the message, and wherever this environment dies: the ledger knows.
        WARM.effects().effect(
            f"measure-{record.message_id}",
            contract=Contract.KEYED,
            payload=record.body,
            run=lambda attempt: publish(record.body, attempt),
            deadline=invocation.deadline,
        )

    return run_batch(event, once, deadline=invocation.deadline, invocation=invocation)


def publish(text: str, attempt: Attempt) -> str:
    """Write the answer under the effect's key. Every attempt has the same key, so a repeated write changes nothing."""
    key = f"lengths/{attempt.effect_key}.json"
    body = json.dumps({"text": text, "lengths": [len(word) for word in text.split()]}).encode()
    WARM.s3().put(WARM.settings.need("results_bucket"), key, body, deadline=attempt.deadline)
    return key
