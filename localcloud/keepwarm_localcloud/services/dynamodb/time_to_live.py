"""Time to live of DynamoDB, which moto keeps and never acts on; everything else of DynamoDB is moto's.

AWS deletes expired items "within a few days" and may still return them meanwhile. Here they are gone at the first
request after their time on the cloud's clock: a program right on AWS is right here too, the converse is what tests of
expiry need. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
"""

import json
from typing import Any, Final

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.moto.base import Moto
from keepwarm_localcloud.request import Request

TOO_OLD_S: Final = 5 * 365 * 86_400
"""Items whose time lies further back are kept: most likely the attribute is no time in seconds. Same page."""


class TimeToLive:
    """Remove expired items before requests see them."""

    def __init__(self, clock: Clock, journal: Journal, moto: Moto) -> None:
        self._clock, self._journal, self._moto = clock, journal, moto
        self._swept_s: dict[str, float] = {}

    def __call__(self, request: Request) -> None:
        """Sweep the tables a request names, at most once per second each. Runs under the backend's lock."""
        now_s = self._clock.now_s()
        backend = self._moto.backend("dynamodb")
        for name, table in backend.tables.items():
            if table.ttl.get("TimeToLiveStatus") != "ENABLED" or name.encode() not in request.body:
                continue
            if now_s - self._swept_s.get(name, -1.0) >= 1.0:
                self._swept_s[name] = now_s
                self._sweep(table, table.ttl["AttributeName"], now_s)

    def _sweep(self, table: Any, attribute: str, now_s: float) -> None:
        items = [
            item
            for held in table.items.values()
            for item in (held.values() if isinstance(held, dict) else (held,))
        ]
        for item in items:
            value = item.attrs.get(attribute)
            if value is None or value.type != "N":
                continue
            at_s = float(value.value)
            if now_s - TOO_OLD_S < at_s < now_s:
                table.delete_item(item.hash_key, item.range_key)
                self._journal.write(
                    "dynamodb", table=table.name, event="expired", key=json.dumps(item.hash_key.to_json())
                )
