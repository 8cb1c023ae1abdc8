"""All environments of a cloud: on demand, newest idle first, and provisioned ones kept initialized per qualifier."""

import itertools
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.deaths import Deaths
from keepwarm_localcloud.services.lambda_.environment import Environment
from keepwarm_localcloud.services.lambda_.errors import throttled
from keepwarm_localcloud.services.lambda_.launch import Launch, Pool
from keepwarm_localcloud.services.lambda_.model import Function, Version
from keepwarm_localcloud.services.lambda_.placement import Demand, decide
from keepwarm_localcloud.services.lambda_.pool_state import Key, Lease, Provisioned, State, provisioned_total
from keepwarm_localcloud.services.lambda_.runtimes import Runtimes
from keepwarm_localcloud.services.lambda_.watcher import Watcher
from keepwarm_runtime.scaling import Placement, expired, newest_idle

IDLE_S = 600.0
"""How long an on-demand environment is kept without work, on the cloud's clock. AWS publishes no number."""


class Pools:
    """Places invocations on environments. Shares the lock of the service, which is never held across a wait."""

    def __init__(
        self,
        context: Context,
        lock: threading.RLock,
        functions: Mapping[str, Function],
        runtimes: Runtimes,
        watcher: Watcher,
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._context = context
        self._lock = lock
        self._changed = threading.Condition(lock)
        self._functions = functions
        self._runtimes = runtimes
        self._watcher = watcher
        self._idle_s = idle_s
        self._root: Path = context.directory / "lambda" / "environments"
        self._states: dict[str, State] = {}
        self._all: set[Environment] = set()
        self._made = itertools.count()
        self._serial: dict[Environment, int] = {}
        self._closed = False
        # Starting is work of the processor: more at once than there are cores only makes each one late.
        self._starters = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "keepwarm-lambda-start")
        self._deaths = Deaths(self._died)
        self._expiry = threading.Thread(target=self._expire, name="keepwarm-lambda-idle", daemon=True)
        self._expiry.start()

    # --- on behalf of invocations -------------------------------------------------------------------------------

    def acquire(self, function: Function, version: Version, qualifier: str, launch: Launch) -> Lease:
        """Lend an environment; one whose state is `new` still has to be initialized by the borrower.

        Raises:
            AwsError: TooManyRequestsException.
        """
        dead: list[Environment] = []
        try:
            with self._lock:
                return self._acquire(function, version, qualifier, launch, dead)
        finally:
            for environment in dead:
                self._end(environment, "died")

    def _acquire(
        self, function: Function, version: Version, qualifier: str, launch: Launch, dead: list[Environment]
    ) -> Lease:
        if self._closed:
            raise AwsError("ServiceException", "The embedded cloud is closing.", 500)
        state = self._states.setdefault(function.name, State())
        provisioned = state.provisioned.get(qualifier)
        if (
            provisioned is not None
            and provisioned.replaces is not None
            and provisioned.version != version.number
        ):
            provisioned = provisioned.replaces
        if provisioned is not None and provisioned.version != version.number:
            provisioned = None
        if provisioned is not None:
            dead += [e for e in provisioned.idle if not e.alive]
            provisioned.idle = [e for e in provisioned.idle if e.alive]
            self._fill(provisioned)
        key = (version.number, version.revision_id)
        fleet = state.fleets.setdefault(key, [])
        dead += [e for e in fleet if not e.alive]
        fleet[:] = [e for e in fleet if e.alive]
        placement, reason = decide(self._demand(function, state, provisioned, len(fleet)))
        if reason:
            self._context.journal.write(
                "throttle", function=function.name, version=version.number, reason=reason
            )
            raise throttled(reason)
        spillover = provisioned is not None and placement is not Placement.PROVISIONED
        if placement is Placement.PROVISIONED and provisioned is not None:
            environment = provisioned.idle.pop()
            provisioned.busy.add(environment)
            self._note(function.name, state)
            used = len(provisioned.busy) / provisioned.allocated
            return Lease(
                environment, placement, function.name, key, provisioned=provisioned, utilization=used
            )
        if placement is Placement.WARM:
            # `fleet` is in the order of becoming idle; which one works is the shared decision, not that order.
            environment = newest_idle(fleet, self._serial.__getitem__)
            fleet.remove(environment)
        else:
            function.burst.try_take(self._context.clock.now_s())
            environment = self._new(launch, Pool.ON_DEMAND)
        state.running += 1
        self._note(function.name, state)
        return Lease(
            environment,
            placement,
            function.name,
            key,
            spillover=spillover,
            # All that is allocated is busy, else there would be no spill-over.
            utilization=1.0 if provisioned is not None and provisioned.allocated else None,
        )

    def _demand(self, function: Function, state: State, provisioned: Provisioned | None, idle: int) -> Demand:
        free = [n for n, f in self._functions.items() if f.reserved is None]
        states = [self._states[n] for n in free if n in self._states]
        return Demand(
            reserved=function.reserved,
            function_provisioned=provisioned_total(state),
            function_on_demand=state.running,
            unreserved=self.unreserved(),
            unreserved_provisioned=sum(provisioned_total(s) for s in states),
            unreserved_on_demand=sum(s.running for s in states),
            provisioned_idle=len(provisioned.idle) if provisioned else 0,
            on_demand_idle=idle,
            may_create=function.burst.available(self._context.clock.now_s()) > 0,
        )

    def release(self, lease: Lease, *, reusable: bool) -> None:
        """Take an environment back."""
        environment, ended = lease.environment, True
        with self._lock:
            state = self._states.get(lease.function)
            if lease.provisioned is not None:
                pool = lease.provisioned
                pool.busy.discard(environment)
                if reusable and not pool.closed and not self._closed and pool.allocated < pool.requested:
                    environment.set_idle()
                    pool.idle.append(environment)
                    ended = False
                self._fill(pool)
            elif state is not None:
                state.running -= 1
                function = self._functions.get(lease.function)
                version = function.versions.get(lease.key[0]) if function else None
                current = version is not None and version.revision_id == lease.key[1]
                if reusable and current and not self._closed:
                    environment.set_idle()
                    state.fleets.setdefault(lease.key, []).append(environment)
                    self._changed.notify_all()
                    ended = False
            if state is not None:
                self._note(lease.function, state)
        if ended:
            self._end(environment, "retired" if reusable else "failed")

    # --- provisioned concurrency --------------------------------------------------------------------------------

    def provision(
        self,
        function: Function,
        qualifier: str,
        version: str,
        launch: Launch,
        count: int,
        on_ready: Callable[[], None],
    ) -> Provisioned:
        """Keep `count` environments of a version initialized for a qualifier; a new version takes over when READY."""
        surplus: list[Environment] = []
        with self._lock:
            state = self._states.setdefault(function.name, State())
            old = state.provisioned.get(qualifier)
            modified = datetime.fromtimestamp(self._context.clock.now_s(), UTC).strftime(
                "%Y-%m-%dT%H:%M:%S+0000"
            )
            if old is not None and old.version == version and old.status != "FAILED":
                new = self._resize(old, count, modified, on_ready, surplus)
            else:
                serving = self._serving(old, surplus)
                if serving is not None and serving.version == version:
                    # Rolled back before the new version took over: the old one simply goes on.
                    new = self._resize(serving, count, modified, on_ready, surplus)
                else:
                    new = Provisioned(function.name, qualifier, version, launch, count, modified)
                    new.on_ready, new.replaces = on_ready, serving
                state.provisioned[qualifier] = new
            self._fill(new)
            self._note(function.name, state)
        for environment in surplus:
            self._end(environment, "retired")
        return new

    @staticmethod
    def _resize(
        pool: Provisioned, count: int, modified: str, on_ready: Callable[[], None], surplus: list[Environment]
    ) -> Provisioned:
        pool.requested, pool.modified, pool.on_ready = count, modified, on_ready
        pool.status = "READY" if pool.allocated >= count and pool.replaces is None else "IN_PROGRESS"
        while pool.allocated > count and pool.idle:
            surplus.append(pool.idle.pop(0))
        return pool

    def _serving(self, pool: Provisioned | None, surplus: list[Environment]) -> Provisioned | None:
        """Whose environments serve while a new generation starts; generations that never took over are closed."""
        while pool is not None and (pool.replaces is not None or pool.status == "FAILED"):
            before, pool.replaces = pool.replaces, None
            surplus += self._close_pool(pool)
            pool = before
        return pool

    def unprovision(self, function: str, qualifier: str) -> None:
        """Give the environments of a qualifier back."""
        with self._lock:
            state = self._states.get(function)
            pool = state.provisioned.pop(qualifier, None) if state else None
            ended = self._close_pool(pool) if pool else []
            if state:
                self._note(function, state)
        for environment in ended:
            self._end(environment, "released")

    def provisioned(self, function: str, qualifier: str) -> Provisioned | None:
        """The provisioned concurrency of a qualifier."""
        state = self._states.get(function)
        return state.provisioned.get(qualifier) if state else None

    def all_provisioned(self, function: str) -> list[Provisioned]:
        """Every provisioned concurrency of a function."""
        state = self._states.get(function)
        return list(state.provisioned.values()) if state else []

    def _close_pool(self, pool: Provisioned) -> list[Environment]:
        ended: list[Environment] = []
        generation: Provisioned | None = pool
        while generation is not None:
            generation.closed = True
            ended += generation.idle
            generation.idle = []
            generation = generation.replaces
        return ended

    def _fill(self, pool: Provisioned) -> None:
        if self._closed or pool.closed or pool.status == "FAILED":
            return
        while pool.allocated + pool.starting < pool.requested:
            pool.starting += 1
            self._starters.submit(self._start_one, pool)
        self._settle(pool)

    def _settle(self, pool: Provisioned) -> None:
        if pool.status == "IN_PROGRESS" and pool.allocated >= pool.requested:
            pool.status, pool.reason = "READY", ""
            old, pool.replaces = pool.replaces, None
            pool.on_ready()
            if old is not None:
                for environment in self._close_pool(old):
                    self._starters.submit(self._end, environment, "replaced")
            self._changed.notify_all()

    def _start_one(self, pool: Provisioned) -> None:
        with self._lock:
            if pool.closed or self._closed or pool.status == "FAILED":
                pool.starting -= 1
                return
            environment = self._new(pool.launch, Pool.PROVISIONED)
        report = environment.init(max(float(limits.LAMBDA_PROVISIONED_INIT_MIN_S), pool.launch.timeout_s))
        ended: list[Environment] = []
        with self._lock:
            pool.starting -= 1
            if not report.ok:
                self._fail(pool, environment, report.error)
                ended = [environment, *pool.idle]
                pool.idle = []
            elif pool.closed or self._closed or pool.allocated >= pool.requested or pool.status == "FAILED":
                ended = [environment]
            else:
                environment.freeze()
                environment.set_idle()
                pool.idle.append(environment)
                self._deaths.follow(environment)
                self._settle(pool)
            state = self._states.get(pool.function)
            if state is not None:
                self._note(pool.function, state)
        for each in ended:
            self._end(each, "failed" if not report.ok else "retired")

    def _fail(self, pool: Provisioned, environment: Environment, error: Mapping[str, object]) -> None:
        if pool.closed or self._closed:
            return
        pool.status = "FAILED"
        tail = " | ".join(environment.log.tail().decode("utf-8", "replace").strip().splitlines())
        pool.reason = (
            f"FUNCTION_ERROR_INIT_FAILURE: {error.get('errorType')}: {error.get('errorMessage')}; log: {tail}"
        )
        self._changed.notify_all()

    def _died(self, environment: Environment) -> None:
        """An idle provisioned environment ended on its own: replace it before somebody asks for it."""
        with self._lock:
            for state in self._states.values():
                for pool in state.provisioned.values():
                    if environment in pool.idle:
                        pool.idle.remove(environment)
                        self._fill(pool)
                        self._note(pool.function, state)
                        break
                else:
                    continue
                break
            else:
                return
        self._end(environment, "died")

    # --- ends ---------------------------------------------------------------------------------------------------

    def retire(self, function: str, *, keep: Key | None = None) -> None:
        """End the idle on-demand environments of a function that no longer fit, all but those of `keep`'s revision.

        Published versions are never touched: their environments can't be out of date.
        """
        ended: list[Environment] = []
        with self._lock:
            state = self._states.get(function)
            for key in list(state.fleets) if state else ():
                if keep is None or (key[0] == keep[0] and key != keep):
                    assert state is not None
                    ended += state.fleets.pop(key)
        for environment in ended:
            self._end(environment, "outdated")

    def forget(self, function: str, version: str | None = None) -> None:
        """End everything of a deleted function, or of one of its versions; running invocations finish first."""
        ended: list[Environment] = []
        with self._lock:
            state = self._states.get(function)
            if state is not None:
                for key in [k for k in state.fleets if version in (None, k[0])]:
                    ended += state.fleets.pop(key)
                for qualifier in [q for q, p in state.provisioned.items() if version in (None, p.version)]:
                    ended += self._close_pool(state.provisioned.pop(qualifier))
                if version is None and not state.running:
                    self._states.pop(function)
        for environment in ended:
            self._end(environment, "deleted")

    def close(self) -> None:
        """End everything. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            everything = list(self._all)
            for state in self._states.values():
                for pool in state.provisioned.values():
                    self._close_pool(pool)
            self._changed.notify_all()
        for environment in everything:
            # Wakes whoever waits for it; the environment is ended once nobody does.
            environment.kill("stopped")
        self._starters.shutdown(wait=True, cancel_futures=True)
        self._deaths.close()
        self._expiry.join()
        for environment in everything:
            self._end(environment, "closed")

    def running(self) -> list[Environment]:
        """Every environment there is."""
        with self._lock:
            return list(self._all)

    def unreserved(self) -> int:
        """The account's concurrency less all reservations."""
        reserved = sum(f.reserved or 0 for f in self._functions.values())
        return self._context.account_concurrency - reserved

    def provisioned_total(self, function: str) -> int:
        """Provisioned environments asked for, over all qualifiers of a function."""
        state = self._states.get(function)
        return provisioned_total(state) if state else 0

    def _new(self, launch: Launch, pool: Pool) -> Environment:
        environment = Environment(self._context, launch, self._runtimes, self._root, pool, self._watcher)
        self._all.add(environment)
        self._serial[environment] = next(self._made)
        return environment

    def _end(self, environment: Environment, why: str) -> None:
        environment.stop(why)
        with self._lock:
            self._all.discard(environment)
            self._serial.pop(environment, None)

    def _note(self, function: str, state: State) -> None:
        busy = sum(len(p.busy) for p in state.provisioned.values())
        ready = sum(p.allocated for p in state.provisioned.values())
        self._context.journal.write(
            "concurrency",
            function=function,
            active=state.running + busy,
            provisioned=ready,
            provisioned_busy=busy,
        )

    def _expire(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                now_s = self._context.clock.now_s()
                ended: list[Environment] = []
                next_s: float | None = None
                for state in self._states.values():
                    for fleet in state.fleets.values():
                        # In the order of becoming idle, so the first expires first.
                        while fleet and expired(fleet[0].idle_since_s, now_s, self._idle_s):
                            ended.append(fleet.pop(0))
                        if fleet:
                            at_s = fleet[0].idle_since_s + self._idle_s
                            next_s = at_s if next_s is None else min(next_s, at_s)
                if not ended:
                    if next_s is None:
                        self._context.clock.wait(self._changed, None)
                    else:
                        self._context.clock.wait_until(self._changed, next_s)
            for environment in ended:
                self._end(environment, "expired")
