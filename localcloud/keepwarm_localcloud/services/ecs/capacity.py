"""Where tasks go: instances of Auto Scaling groups, managed instances, Fargate.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-capacity-providers.html. Instances are simulated
EC2 instances that cost nothing: they take `boot_s` of the clock to register (a warm pool's take a fifth of it).
"""

import secrets
import urllib.parse
from pathlib import Path
from typing import Any

from keepwarm.limits import GPU_INSTANCES
from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services.ecs.definitions import Needs
from keepwarm_localcloud.services.ecs.model import Instance, Provider, Task
from keepwarm_localcloud.services.ecs.owner import Owner

FARGATE = ("FARGATE", "FARGATE_SPOT")
PLAIN_INSTANCE = (2, 8_192)
"""vCPU and MiB of an instance type that the table of GPU instances doesn't have, unless EC2 knows it."""
MANAGED_INSTANCE = (4096, 16_384, 1)
WARM_POOL_SHARE = 0.2
SCALE_IN_AFTER_S = 900.0
"""Idle seconds before managed scaling takes an instance away: 15 datapoints of one minute.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html"""


class Capacity:
    """Keeps the container instances of every cluster; called under the service's lock."""

    def __init__(self, owner: Owner, boot_s: float) -> None:
        self.owner, self.boot_s = owner, boot_s
        self.providers: dict[str, Provider] = {}
        self.instances: dict[str, Instance] = {}
        self._parted: list[Instance] = []
        """Container instances that are gone, until their disks are."""

    def guard(self, request: Request) -> None:
        """Refuse to delete an Auto Scaling group with instances unless forced; moto just deletes it."""
        self.owner.poke(after_moto=True)
        fields = dict(urllib.parse.parse_qsl(request.body.decode()))
        if fields.get("Action") != "DeleteAutoScalingGroup":
            return
        group = self._groups().get(fields.get("AutoScalingGroupName", ""))
        if group is None or not group.instance_states:
            return
        if fields.get("ForceDelete", "false").lower() != "true":
            raise AwsError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
                "still in the group.",
            )
        for state in group.instance_states:
            # A forced deletion takes protected instances too.
            state.protected_from_scale_in = False

    def _groups(self) -> dict[str, Any]:
        backend = self.owner.context.moto.existing_backend("autoscaling")
        return {} if backend is None else dict(backend.autoscaling_groups)

    def group(self, provider: Provider) -> Any | None:
        """moto's Auto Scaling group of a provider."""
        return self._groups().get(provider.group_name) if provider.group is not None else None

    def size_of(self, kind: str) -> tuple[int, int, int]:
        """(CPU units, MiB, GPUs) of an instance type."""
        known = GPU_INSTANCES.get(kind)
        if known is not None:
            return known.vcpus * 1024, known.memory_mib, known.gpus
        backend = self.owner.context.moto.backend("ec2")
        offered = next((t for t in backend.instance_types if t["InstanceType"] == kind), None)
        if offered is not None:
            return offered["VCpuInfo"]["DefaultVCpus"] * 1024, offered["MemoryInfo"]["SizeInMiB"], 0
        return PLAIN_INSTANCE[0] * 1024, PLAIN_INSTANCE[1], 0

    def clusters_of(self, provider: Provider) -> list[str]:
        """ARNs of the clusters a provider is associated with."""
        return [
            c.arn
            for c in self.owner.clusters.values()
            if provider.name in c.providers and c.status == "ACTIVE"
        ]

    def refresh(self, now_s: float) -> None:
        """Bring container instances in line with the groups."""
        alive: set[str] = set()
        for provider in list(self.providers.values()):
            group, clusters = self.group(provider), self.clusters_of(provider)
            if group is None or not clusters:
                continue
            warm = len(group.instance_states) and group.warm_pool is not None
            for state in list(group.instance_states):
                identity = state.instance.id
                alive.add(identity)
                if identity not in self.instances:
                    boot_s = self.boot_s * (WARM_POOL_SHARE if warm else 1.0)
                    self._add(
                        identity, state.instance.instance_type, clusters[0], provider.name, now_s, boot_s
                    )
        for identity, instance in list(self.instances.items()):
            managed = self.providers.get(instance.provider)
            if identity not in alive and not (managed is not None and managed.managed is not None):
                self._lost(instance)
            elif instance.status == "REGISTERING" and now_s >= instance.ready_s:
                instance.status = "ACTIVE"
                self.owner.note(
                    "instance", instance=identity, type=instance.kind, state="ACTIVE", gpus=instance.gpus
                )

    def _add(
        self, identity: str, kind: str, cluster: str, provider: str, now_s: float, boot_s: float
    ) -> None:
        size = MANAGED_INSTANCE if kind == "managed" else self.size_of(kind)
        arn = self.owner.arn("container-instance", f"{cluster.rpartition('/')[2]}/{secrets.token_hex(16)}")
        self.instances[identity] = Instance(
            arn, identity, kind, cluster, provider, *size, now_s, now_s + boot_s
        )  # fmt: skip
        self.owner.note("instance", instance=identity, type=kind, state="REGISTERING", gpus=size[2])
        self.owner.poke_at(now_s + boot_s)

    def _lost(self, instance: Instance) -> None:
        del self.instances[instance.identity]
        self.owner.note(
            "instance", instance=instance.identity, type=instance.kind, state="TERMINATED", gpus=0
        )
        for task in self.tasks_on(instance):
            self.owner.stop_task(
                task, "TerminationNotice", "Host EC2 (instance " + instance.identity + ") terminated."
            )
        self._parted.append(instance)

    def ended_disks(self) -> list[Path]:
        """Set aside the disks of terminated instances on which no task is ending any more, to be removed.

        An instance that only left its cluster still runs in its group and keeps its disk.
        """
        if not self._parted:
            return []
        kept = {s.instance.id for group in self._groups().values() for s in list(group.instance_states)}
        # By identity: one that left its cluster and came back is another container instance on the same disk.
        kept |= {
            t.instance.identity for t in self.owner.tasks.values() if t.instance and t.status != "STOPPED"
        }
        ended: list[Path] = []
        for instance in list(self._parted):
            if instance.identity in kept:
                continue
            self._parted.remove(instance)
            disk = self.owner.disk(instance)
            if disk.exists():
                ended.append(disk.rename(disk.with_name(f"{disk.name}.ended-{secrets.token_hex(4)}")))
        return ended

    def tasks_on(self, instance: Instance) -> list[Task]:
        """Tasks that hold resources of an instance."""
        return [t for t in self.owner.tasks.values() if t.instance is instance and t.status != "STOPPED"]

    def place(self, task: Task) -> Instance | None:
        """Find room, fullest instance first (bin packing), or None."""
        candidates = [
            i for i in self.instances.values()
            if i.cluster == task.cluster and i.status == "ACTIVE" and task.provider in (None, i.provider)
        ]  # fmt: skip
        taken = {i.identity: [t.definition.needs for t in self.tasks_on(i)] for i in candidates}
        fitting = [i for i in candidates if i.fits(task.definition.needs, taken[i.identity])]
        return min(
            fitting, key=lambda i: i.memory_mib - sum(n.memory_mib for n in taken[i.identity]), default=None
        )

    def scale(self, now_s: float) -> None:
        """Managed scaling: instances for tasks that wait, fewer when instances stay empty."""
        for provider in list(self.providers.values()):
            if not provider.scales or provider.status != "ACTIVE" or not self.clusters_of(provider):
                continue
            waiting = [
                t for t in self.owner.tasks.values()
                if t.provider == provider.name and t.status == "PROVISIONING" and t.desired == "RUNNING"
                and t.instance is None
            ]  # fmt: skip
            if provider.managed is not None:
                self._scale_managed(provider, waiting, now_s)
            elif (group := self.group(provider)) is not None:
                self._scale_group(provider, group, waiting, now_s)

    def _scale_managed(self, provider: Provider, waiting: list[Task], now_s: float) -> None:
        coming = [
            i for i in self.instances.values() if i.provider == provider.name and i.status == "REGISTERING"
        ]
        for _ in waiting[len(coming) :]:
            identity = f"i-{secrets.token_hex(8)}"
            self._add(identity, "managed", self.clusters_of(provider)[0], provider.name, now_s, self.boot_s)
        for instance in self._idle(provider, now_s, 60.0):
            self._lost(instance)

    def _idle(self, provider: Provider, now_s: float, after_s: float) -> list[Instance]:
        idle = []
        for instance in list(self.instances.values()):
            if instance.provider != provider.name or instance.status != "ACTIVE":
                continue
            if self.tasks_on(instance):
                instance.idle_since_s = None
                continue
            if instance.idle_since_s is None:
                instance.idle_since_s = now_s
                self.owner.poke_at(now_s + after_s)
            if now_s >= instance.idle_since_s + after_s:
                idle.append(instance)
        return idle

    def _scale_group(self, provider: Provider, group: Any, waiting: list[Task], now_s: float) -> None:
        assert provider.group is not None
        scaling = provider.group.get("managedScaling", {})
        desired = int(group.desired_capacity or 0)
        if waiting:
            booting = [
                i
                for i in self.instances.values()
                if i.provider == provider.name and i.status == "REGISTERING"
            ]
            needed = self._instances_for([t.definition.needs for t in waiting], group) - len(booting)
            if needed > 0:
                needed = max(needed, scaling.get("minimumScalingStepSize", 1))
                wanted = min(
                    desired + min(needed, scaling.get("maximumScalingStepSize", 10_000)), int(group.max_size)
                )
                self._set(provider, group, wanted, f"{len(waiting)} tasks wait for capacity")
            return
        spare = desired - int(group.min_size or 0)
        # Below 100 % target capacity some empty instances are kept as head room.
        target = scaling.get("targetCapacity", 100)
        used = sum(bool(self.tasks_on(i)) for i in self.instances.values() if i.provider == provider.name)
        keep = -(-used * 100 // target) - used if target else 0
        idle = self._idle(provider, now_s, SCALE_IN_AFTER_S)
        for instance in idle[: max(0, min(spare, len(idle) - keep))]:
            state = next((s for s in group.instance_states if s.instance.id == instance.identity), None)
            if state is None or (state.protected_from_scale_in and not provider.protects):
                continue
            with self.owner.context.moto.lock("autoscaling"):
                state.protected_from_scale_in = False
                backend = self.owner.context.moto.backend("autoscaling")
                backend.terminate_instance(instance.identity, True)
            self.owner.note(
                "scaling", target=group.name, reason="instance idle", **{"from": desired, "to": desired - 1}
            )
            desired -= 1
            self._lost(instance)

    def _instances_for(self, needs: list[Needs], group: Any) -> int:
        size = self.size_of(group.instance_type or "")
        bins: list[Instance] = []
        taken: list[list[Needs]] = []
        for need in needs:
            for room, used in zip(bins, taken, strict=True):
                if room.fits(need, used):
                    used.append(need)
                    break
            else:
                room = Instance("", "", "", "", "", *size, 0.0, 0.0)
                if not room.fits(need, []):
                    # No instance of this type can ever hold it: more of them would not help.
                    continue
                bins.append(room)
                taken.append([need])
        return len(bins)

    def _set(self, provider: Provider, group: Any, wanted: int, reason: str) -> None:
        before = int(group.desired_capacity or 0)
        if wanted <= before:
            return
        with self.owner.context.moto.lock("autoscaling"):
            self.owner.context.moto.backend("autoscaling").set_desired_capacity(group.name, wanted)
        self.owner.note(
            "scaling", target=group.name, reason=f"capacity provider {provider.name}: {reason}",
            **{"from": before, "to": wanted},
        )  # fmt: skip
        self.owner.poke()
