"""`python -m keepwarm_cli.engine.language_host`: the part of a Python language host that the CLI needs to exist.

`pulumi import` asks a language host which plugins a program needs, and there is no `--client` for it. Where no Pulumi
installation brings one, `.keepwarm/bin/pulumi-language-python` runs this.
"""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from keepwarm_cli.errors import coded_line


def main() -> int:
    """Serve until SIGTERM or SIGINT; print the port as a plugin does."""
    import grpc
    from pulumi.automation._server import LanguageServer
    from pulumi.runtime.proto import language_pb2_grpc

    def program() -> None:
        raise RuntimeError(
            coded_line(
                "KW674", "language host", problem="it runs no program", fix="use `keepwarm pulumi -- up`"
            )
        )

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = grpc.server(ThreadPoolExecutor(4))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(program), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    ended.wait()
    server.stop(0).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
