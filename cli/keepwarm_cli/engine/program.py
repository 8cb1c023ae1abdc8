"""The project's program, served to the CLI as the Automation API serves an inline program."""

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from keepwarm_cli.engine.project_files import project_document
from keepwarm_cli.errors import CliError

ABANDONED: Final[list[Callable[[], Any]]] = []
"""Programs whose own code runs on after their engine has ended; nothing in this process can interrupt them."""


@contextlib.contextmanager
def serve_program(program: Callable[[], Any]) -> Iterator[str]:
    """Serve `program` as a language host; gives the address for `--client`."""
    import grpc
    from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
    from pulumi.runtime.proto import language_pb2_grpc

    from keepwarm_cli.engine.program_host import ProgramHost

    host = ProgramHost(program)
    server = grpc.server(ThreadPoolExecutor(4, "keepwarm-program"), options=_GRPC_CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stopped = server.stop(0)
        if not host.stop():
            ABANDONED.append(program)
        stopped.wait()


def program_of(project: Path) -> Callable[[], None]:
    """The project's program as a function: its `main` run as a script, as the language host does.

    Raises:
        CliError: KW654, there is no such file.
    """
    main = project / str(project_document(project).get("main") or ".")
    script = main / "__main__.py" if main.is_dir() else main
    if not script.is_file():
        raise CliError(
            "KW654",
            f"project {project}",
            got=f"no program at {script}",
            allowed="a folder with __main__.py, or a file",
            fix="`main` in Pulumi.yaml",
        )

    def program() -> None:
        for folder in (str(project), str(script.parent)):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        runpy.run_path(str(script), run_name="__main__")

    return program
