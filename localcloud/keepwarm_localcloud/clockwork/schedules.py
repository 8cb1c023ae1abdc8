"""Schedule expressions: `at(...)`, `rate(...)` and `cron(...)` with a time zone.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNITS_S = {"minute": 60, "hour": 3600, "day": 86_400}
MONTHS = {
    n: i
    for i, n in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], start=1
    )
}
DAYS = {n: i for i, n in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], start=1)}
LAST_YEAR = 2199


class ExpressionError(ValueError):
    """The text is no schedule expression; the message is AWS's."""


class Schedule(Protocol):
    """When something runs."""

    def after(self, moment_s: float) -> float | None:
        """First run strictly after `moment_s` (seconds since the epoch), or None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Once:
    """`at(...)`."""

    at_s: float

    def after(self, moment_s: float) -> float | None:
        """See `Schedule`."""
        return self.at_s if self.at_s > moment_s else None


@dataclass(frozen=True, slots=True)
class Rate:
    """`rate(...)`, counted from `start_s`."""

    every_s: float
    start_s: float

    def after(self, moment_s: float) -> float | None:
        """See `Schedule`."""
        if moment_s < self.start_s:
            return self.start_s
        return self.start_s + (int((moment_s - self.start_s) // self.every_s) + 1) * self.every_s


@dataclass(frozen=True, slots=True)
class Cron:
    """`cron(minutes hours day-of-month month day-of-week year)`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]
    zone: ZoneInfo

    def after(self, moment_s: float) -> float | None:
        """See `Schedule`."""
        local = datetime.fromtimestamp(moment_s, self.zone)
        for day in self._dates(local.date()):
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                    stamp = at.timestamp()
                    # A local time that the clock jumps over doesn't exist, so it doesn't run.
                    exists = datetime.fromtimestamp(stamp, self.zone).replace(tzinfo=None) == at.replace(
                        tzinfo=None
                    )
                    if stamp > moment_s and exists:
                        return stamp
        return None

    def _dates(self, first: date) -> Iterator[date]:
        year, month = first.year, first.month
        while year <= LAST_YEAR and year <= max(self.years):
            if year in self.years and month in self.months:
                length = calendar.monthrange(year, month)[1]
                for number in range(1, length + 1):
                    day = date(year, month, number)
                    if day >= first and self._fits(day, length):
                        yield day
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)

    def _fits(self, day: date, length: int) -> bool:
        if self.weekdays == "?":
            return _day_fits(self.days, day, length)
        return _weekday_fits(self.weekdays, day, length)


def _day_fits(text: str, day: date, length: int) -> bool:
    if text == "L":
        return day.day == length
    if text.endswith("W"):
        wanted = length if text == "LW" else min(int(text[:-1]), length)
        target = date(day.year, day.month, wanted)
        shift = {5: -1, 6: 1}.get(target.weekday(), 0)
        if not 1 <= wanted + shift <= length:
            shift = {5: 2, 6: -2}[target.weekday()]
        return day.day == wanted + shift
    return day.day in _numbers(text, 1, 31, {}, "day-of-month")


def _weekday_fits(text: str, day: date, length: int) -> bool:
    number = day.isoweekday() % 7 + 1
    if "#" in text:
        name, _, nth = text.partition("#")
        return number == _number(name, DAYS) and (day.day - 1) // 7 + 1 == int(nth)
    if text.endswith("L") and text != "L":
        return number == _number(text[:-1], DAYS) and day.day + 7 > length
    if text == "L":
        return number == 7
    return number in _numbers(text, 1, 7, DAYS, "day-of-week")


def _number(text: str, names: dict[str, int]) -> int:
    value = names.get(text.upper())
    return value if value is not None else int(text)


def _numbers(text: str, low: int, high: int, names: dict[str, int], field: str) -> frozenset[int]:
    found: set[int] = set()
    try:
        for part in text.split(","):
            span, _, step = part.partition("/")
            if span == "*":
                first, last = low, high
            elif "-" in span:
                start, _, end = span.partition("-")
                first, last = _number(start, names), _number(end, names)
            else:
                first = _number(span, names)
                last = high if step else first
            values = list(range(first, last + 1, int(step or 1)))
            if not values or not low <= first <= last <= high:
                raise ValueError(part)
            found.update(values)
    except ValueError as error:
        raise ExpressionError(f"Invalid Schedule Expression: {field} '{text}'") from error
    return frozenset(found)


def zone_of(name: str | None) -> ZoneInfo:
    """A time zone by IANA name; UTC by default.

    Raises:
        ExpressionError: there is no such zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ExpressionError(f"Invalid Schedule Expression Timezone '{name}'") from error


def parse(expression: str, *, zone: str | None = None, start_s: float) -> Schedule:
    """Read a schedule expression.

    Args:
        expression: `at(yyyy-mm-ddThh:mm:ss)`, `rate(n unit)` or `cron(...)`.
        zone: IANA time zone of `at` and `cron`.
        start_s: From when a rate counts.

    Raises:
        ExpressionError: with AWS's words.
    """
    where = zone_of(zone)
    found = re.fullmatch(r"(at|rate|cron)\((.*)\)", expression.strip())
    if found is None:
        raise ExpressionError(f"Invalid Schedule Expression {expression}.")
    kind, inside = found.groups()
    if kind == "at":
        try:
            # fromisoformat() takes dates alone, fractions and offsets too, which AWS refuses.
            moment = datetime.strptime(inside, "%Y-%m-%dT%H:%M:%S")
        except ValueError as error:
            raise ExpressionError(f"Invalid Schedule Expression {expression}.") from error
        return Once(moment.replace(tzinfo=where).timestamp())
    if kind == "rate":
        rate = re.fullmatch(r"(\d+) (minute|hour|day)(s?)", inside)
        if rate is None or int(rate[1]) < 1:
            raise ExpressionError(f"Invalid Schedule Expression {expression}.")
        return Rate(int(rate[1]) * UNITS_S[rate[2]], start_s)
    return _cron(expression, inside, where)


def _cron(expression: str, inside: str, zone: ZoneInfo) -> Cron:
    fields = inside.split()
    if len(fields) != 6:
        raise ExpressionError(f"Invalid Schedule Expression {expression}.")
    minute, hour, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        raise ExpressionError(f"Invalid Schedule Expression {expression}.")
    cron = Cron(
        _numbers(minute, 0, 59, {}, "minutes"),
        _numbers(hour, 0, 23, {}, "hours"),
        day,
        _numbers(month, 1, 12, MONTHS, "month"),
        weekday,
        _numbers(year, 1970, LAST_YEAR, {}, "year"),
        zone,
    )
    try:
        # Checks the day fields too, which depend on the month.
        cron._fits(datetime.now(UTC).date(), 31)
    except ValueError as error:
        raise ExpressionError(f"Invalid Schedule Expression {expression}.") from error
    return cron


def window(moment_s: float, minutes: int, share: float) -> float:
    """When a run with a flexible time window happens: `share` (0..1) of the window after the moment."""
    return moment_s + timedelta(minutes=minutes).total_seconds() * share
