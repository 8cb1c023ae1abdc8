"""`python -m keepwarm_localcloud.engine.provider`: serve the provider; print the port on one line, as plugins do.

The endpoint of the cloud comes from `--endpoint` or `AWS_ENDPOINT_URL`. Arguments that the engine passes to a plugin
(its own address first) are accepted, so an executable `pulumi-resource-aws` on PATH can simply run this.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from keepwarm_localcloud import owner

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT, or the end of the parent; gives the exit status."""
    parser = argparse.ArgumentParser(prog="keepwarm_localcloud.engine.provider")
    parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--read-timeout-s",
        type=float,
        default=os.environ.get("KEEPWARM_READ_TIMEOUT_S"),
        help="longest silence of the cloud before a request is sent again",
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the starting process ends")
    parser.add_argument("--owner", type=int, metavar="PID", help="end when this process has ended")
    options, _ = parser.parse_known_args(arguments)
    if not options.endpoint:
        print(
            "KW672 provider: got no endpoint of an embedded cloud; allowed --endpoint or AWS_ENDPOINT_URL; "
            "fix: use `keepwarm pulumi`, or `keepwarm local env`",
            file=sys.stderr,
        )
        return 2
    if options.with_parent and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if options.owner is not None:
        owner.when_it_ends(options.owner, ended.set)

    import grpc
    from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
    from pulumi.runtime.proto import provider_pb2_grpc

    from keepwarm_localcloud.engine.provider.creations import VARIABLE, Creations
    from keepwarm_localcloud.engine.provider.faults import crash_hook
    from keepwarm_localcloud.engine.provider.service import AwsProvider
    from keepwarm_localcloud.pulumi_types.aws import READ_TIMEOUT_S

    provider = AwsProvider(
        options.endpoint,
        on_operation=crash_hook(os.environ),
        creations=Creations(os.environ.get(VARIABLE)),
        read_timeout_s=options.read_timeout_s or READ_TIMEOUT_S,
    )
    server = grpc.server(ThreadPoolExecutor(32, "keepwarm-provider"), options=_GRPC_CHANNEL_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    server.start()
    print(port, flush=True)
    ended.wait()
    server.stop(grace=1.0).wait()
    provider.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
