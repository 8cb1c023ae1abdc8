"""Deleting resources: dependents first, as many at once as their order allows."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from keepwarm_localcloud.engine.results import Failure
from keepwarm_localcloud.engine.state import ResourceState
from keepwarm_localcloud.engine.target import Target
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.errors import ResourceError


def ours(resource: ResourceState) -> bool:
    """Whether the stack made the resource in the cloud."""
    return not resource.external and not resource.type.startswith("pulumi:")


def protected(resource: ResourceState) -> Failure:
    """The refusal to delete a protected resource."""
    return Failure(
        resource.urn,
        resource.type,
        "KW641",
        f"{resource.urn}: got a deletion; allowed none; because it is protected; fix: set "
        "protect to false and run up first",
    )


class Deletion:
    """Deletes resources of one stack."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def all(self, doomed: list[ResourceState], changes: dict[str, str]) -> list[Failure]:
        """Delete `doomed`, dependents first, as many at once as their order allows."""
        waits_for = _dependents(doomed)
        failures: list[Failure] = []
        failed: set[int] = set()
        left = set(range(len(doomed)))
        running: dict[Future[Failure | None], int] = {}
        with ThreadPoolExecutor(self._target.parallel, "keepwarm-delete") as pool:
            try:
                while True:
                    failures.extend(self._give_up(doomed, left, failed, waits_for))
                    ready = [n for n in sorted(left) if not waits_for[n]]
                    for number in ready if not self._target.cancelled.is_set() else []:
                        left.discard(number)
                        running[pool.submit(self._one, doomed[number], doomed, changes)] = number
                    if not running:
                        break
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = running.pop(future)
                        failure = future.result()
                        if failure is not None:
                            failures.append(failure)
                            failed.add(number)
                            continue
                        for others in waits_for:
                            others.discard(number)
                    self._target.state.save()
            except KeyboardInterrupt:
                self._target.cancel()
                raise
        if left:
            failures.append(
                Failure("", "", "KW644", "destroy: stopped before it was done; fix: run it again")
            )
        return failures

    def _give_up(
        self, doomed: list[ResourceState], left: set[int], failed: set[int], waits_for: list[set[int]]
    ) -> list[Failure]:
        """Take out of `left` what cannot be deleted because something that depends on it could not."""
        failures: list[Failure] = []
        while blocked := [n for n in left if waits_for[n] & failed]:
            for number in blocked:
                left.discard(number)
                failed.add(number)
                if doomed[number].custom:
                    cause = doomed[min(waits_for[number] & failed)]
                    failures.append(self._kept(doomed[number], cause))
        return failures

    def _kept(self, resource: ResourceState, cause: ResourceState) -> Failure:
        return Failure(
            resource.urn,
            resource.type,
            "KW637",
            f"{resource.urn}: not deleted; because {cause.urn}, which depends on it, could not "
            "be deleted; fix: that one first",
        )

    def _one(
        self, resource: ResourceState, doomed: list[ResourceState], changes: dict[str, str]
    ) -> Failure | None:
        if resource.protect:
            return protected(resource)
        begun = time.perf_counter()
        skipped = resource.retain or resource.external or not resource.custom or not ours(resource)
        if not skipped and resource.deleted_with:
            skipped = any(r.urn == resource.deleted_with for r in doomed)
        if not skipped:
            self._target.emit(resource.urn, resource.type, "delete", "start")
            try:
                table.delete(
                    resource.type,
                    resource.urn,
                    self._target.aws_of(resource.provider),
                    resource.id,
                    resource.inputs,
                    resource.outputs,
                    timeout_s=resource.delete_timeout_s,
                )
            except ResourceError as error:
                self._target.emit(resource.urn, resource.type, "delete", "failed", begun, str(error))
                return Failure(resource.urn, resource.type, error.code, error.message)
        with self._target.state.lock:
            if self._target.state.resources.get(resource.urn) is resource:
                del self._target.state.resources[resource.urn]
                changes[resource.urn] = "delete"
            elif resource in self._target.state.doomed:
                self._target.state.doomed.remove(resource)
        if not skipped:
            self._target.emit(resource.urn, resource.type, "delete", "done", begun)
        return None


def _dependents(doomed: list[ResourceState]) -> list[set[int]]:
    """For each resource, the positions of those that must go before it."""
    by_urn: dict[str, list[int]] = {}
    for number, resource in enumerate(doomed):
        by_urn.setdefault(resource.urn, []).append(number)
    waits_for: list[set[int]] = [set() for _ in doomed]
    for number, resource in enumerate(doomed):
        for needed in {*resource.dependencies, resource.parent, resource.provider.rpartition("::")[0]}:
            for other in by_urn.get(needed, []):
                if other != number:
                    waits_for[other].add(number)
    return waits_for
