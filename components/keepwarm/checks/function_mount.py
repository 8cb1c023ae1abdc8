"""Checks on a file system that a function mounts: https://docs.aws.amazon.com/lambda/latest/dg/configuration-filesystem.html"""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm.checks.inputs import Checks

PATH = r"/mnt/[A-Za-z0-9_.-]{1,155}"
ACCESS_POINT = r"arn:[a-z-]+:elasticfilesystem:[a-z0-9-]+:\d{12}:access-point/fsap-[0-9a-f]{8,40}"
FILE_SYSTEM = r"arn:[a-z-]+:elasticfilesystem:[a-z0-9-]+:\d{12}:file-system/fs-[0-9a-f]{8,40}"


class FileSystemMount(TypedDict):
    """An EFS file system that a function mounts through an access point."""

    access_point_arn: pulumi.Input[str]
    """ARN of the access point."""
    file_system_arn: pulumi.Input[str]
    """ARN of its file system, which the function's role gets access to, through that access point alone."""
    path: pulumi.Input[str]
    """Where the function finds it, ``/mnt/<name>``."""
    read_only: NotRequired[bool]
    """Whether the function may only read. Default: false."""
    mount_target_ids: NotRequired[list[pulumi.Input[str]]]
    """Mount targets that must exist before the function, one in each zone of its subnets. Default: not waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MountSpec:
    """A mount after its check."""

    access_point_arn: pulumi.Input[str]
    file_system_arn: pulumi.Input[str]
    path: pulumi.Input[str]
    read_only: bool
    mount_target_ids: list[pulumi.Input[str]]


def check_mount(checks: Checks[Any], mount: FileSystemMount, *, in_vpc: bool, snap_start: bool) -> MountSpec:
    """The mount after its check."""
    if not in_vpc:
        checks.add(
            code="KW147",
            key="file_system",
            got="a function without subnets",
            allowed="a function in the VPC of the mount targets",
            because="a file system is reached through mount targets in its VPC",
            fix="set subnet_ids and security_group_ids, and let port 2049 of the mount targets in",
        )
    if snap_start:
        checks.add(
            code="KW113",
            key="file_system",
            got="a file system and snap_start",
            allowed="one of them",
            because="SnapStart excludes EFS",
            fix="drop snap_start, or keep the files in the bundle or a bucket",
        )
    arn: dict[str, Any] = {"code": "KW140", "because": "Lambda mounts through an access point of EFS"}
    return MountSpec(
        access_point_arn=checks.text(
            "file_system.access_point_arn",
            mount["access_point_arn"],
            ACCESS_POINT,
            allowed="'arn:aws:elasticfilesystem:<region>:<account>:access-point/fsap-<hex>'",
            fix="pass the access point's arn",
            **arn,
        ),
        file_system_arn=checks.text(
            "file_system.file_system_arn",
            mount["file_system_arn"],
            FILE_SYSTEM,
            allowed="'arn:aws:elasticfilesystem:<region>:<account>:file-system/fs-<hex>'",
            fix="pass the file system's arn",
            **arn,
        ),
        path=checks.text(
            "file_system.path",
            mount["path"],
            PATH,
            code="KW147",
            allowed="'/mnt/' and a name of letters, digits, dot, dash and underscore, 160 characters in all",
            because="Lambda mounts nowhere else",
            fix="choose a path below /mnt",
        ),
        read_only=mount.get("read_only", False),
        mount_target_ids=mount.get("mount_target_ids", []),
    )
