#!/bin/bash
set -euo pipefail

cat >> /etc/ecs/ecs.config <<'CONFIG'
ECS_CLUSTER=@CLUSTER@
ECS_ENABLE_GPU_SUPPORT=@GPU@
ECS_AWSVPC_BLOCK_IMDS=true
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_CONTAINER_STOP_TIMEOUT=@DRAIN_S@s
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_WARM_POOLS_CHECK=@WARM_POOL@
CONFIG

# Instance-store disks come back empty after a stop (warm pool), so the cache is made at every boot, before tasks start.
cat > /usr/local/sbin/keepwarm-cache <<'SCRIPT'
#!/bin/bash
set -euo pipefail
cache=@CACHE@
mkdir -p "$cache"
mapfile -t disks < <(lsblk --noheadings --nodeps --paths --output NAME,MODEL | awk '/Instance Storage/ {print $1}')
device=""
if [ "${#disks[@]}" -gt 1 ]; then
  command -v mdadm > /dev/null || dnf install --assumeyes --quiet mdadm
  mdadm --create /dev/md/keepwarm --level=0 --force --run --raid-devices="${#disks[@]}" "${disks[@]}"
  device=/dev/md/keepwarm
elif [ "${#disks[@]}" -eq 1 ]; then
  device="${disks[0]}"
fi
if [ -n "$device" ]; then
  mkfs.xfs -f -q "$device"
  mount -o noatime,nodev,nosuid,noexec "$device" "$cache"
fi
chown @UID@:@UID@ "$cache"
chmod 0700 "$cache"
SCRIPT
chmod 0755 /usr/local/sbin/keepwarm-cache

cat > /etc/systemd/system/keepwarm-cache.service <<'UNIT'
[Unit]
Description=Model cache on the instance store
Before=ecs.service docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/keepwarm-cache
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now keepwarm-cache.service
