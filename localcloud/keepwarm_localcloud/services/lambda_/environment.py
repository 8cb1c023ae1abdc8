"""One execution environment: a real process under the Lambda Runtime API, from its start to its end.

Life cycle as AWS states it: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
Every wait here is on the machine's clock: a process runs in real time whatever clock the embedded cloud has.
"""

import base64
import contextlib
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keepwarm import limits
from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.lambda_.launch import Launch, Pool, command_and_environment
from keepwarm_localcloud.services.lambda_.log import EnvironmentLog, timestamp
from keepwarm_localcloud.services.lambda_.outcome import (
    Call,
    InitReport,
    Outcome,
    error_type,
    failed,
    json_object,
)
from keepwarm_localcloud.services.lambda_.runtime_api import Gone, Late, RuntimeApi, RuntimeRequest
from keepwarm_localcloud.services.lambda_.runtimes import Runtimes
from keepwarm_localcloud.services.lambda_.watcher import Watcher

_NEXT_AFTER_ANSWER_S = 0.002
"""How long a finished runtime may take to ask for the next event before it is frozen without having asked."""
_EXIT = "Runtime.ExitError"
RESPONSE_MAX_BYTES = limits.LAMBDA_SYNC_PAYLOAD_MAX_BYTES + 100
"""Lambda states 6,291,556 bytes when it refuses a response: 6 MB and 100 bytes."""


class Environment:
    """A process, its private /tmp, its Runtime API and its log stream."""

    def __init__(
        self, context: Context, launch: Launch, runtimes: Runtimes, root: Path, pool: Pool, watcher: Watcher
    ) -> None:
        self.id = uuid.uuid4().hex
        self.launch = launch
        self.pool = pool
        self.state = "new"
        self.idle_since_s = 0.0
        self.kill_reason = ""
        self.used_mb = 0.0
        self._context = context
        self._runtimes = runtimes
        self._watcher = watcher
        self._root = root / self.id[:12]
        self.tmp = self._root / "tmp"
        self._child: subprocess.Popen[bytes] | None = None
        self._api: RuntimeApi | None = None
        self._next: RuntimeRequest | None = None
        self._frozen = False
        self._stopping = False
        self._access_key = ""
        # Held while the process is initialized or invoked, so that nobody closes its files under that thread.
        self._use = threading.RLock()
        day = datetime.fromtimestamp(context.clock.now_s(), UTC).strftime("%Y/%m/%d")
        self.log_stream = f"{day}/[{launch.version}]{self.id}"
        self.log = EnvironmentLog(self._put_log, as_json=launch.json_log)
        self._may_log = False

    @property
    def pid(self) -> int | None:
        """Process id, None before the start."""
        return self._child.pid if self._child else None

    @property
    def alive(self) -> bool:
        """The process runs (or is frozen)."""
        return self._child is not None and self._child.poll() is None

    # --- init phase ---------------------------------------------------------------------------------------------

    def init(self, limit_s: float) -> InitReport:
        """Start the process and run the init phase: until the runtime asks for its first event.

        Args:
            limit_s: seconds the phase may take before the process is killed.
        """
        with self._use:
            return self._init(limit_s)

    def _init(self, limit_s: float) -> InitReport:
        # A second init in the same environment (after a failed one) keeps its /tmp, as on AWS.
        self._release_process()
        started = time.monotonic()
        self._set_state("starting")
        try:
            self._spawn()
        except LocalCloudError as error:
            return self._init_failed(
                started, "exit", "Runtime.InvalidEntrypoint", f"RequestId: {self.id} {error}"
            )
        assert self._api is not None
        self._watcher.add(self)
        try:
            return self._init_answers(started, started + limit_s)
        except Late:
            self._kill("timeout")
            return self._init_failed(
                started, "timeout", "Sandbox.Timedout", f"Init phase timed out after {limit_s:.2f} seconds"
            )
        except Gone:
            kind, message = self._death()
            return self._init_failed(started, kind, _EXIT, message)
        finally:
            self._watcher.remove(self)
            self._api.drain_log()

    def _init_answers(self, started: float, deadline: float) -> InitReport:
        assert self._api is not None
        while True:
            request = self._api.next_request(deadline)
            if request.path.endswith("/invocation/next"):
                self._next = request
                self._set_state("idle")
                return InitReport(True, (time.monotonic() - started) * 1000)
            if request.path.endswith("/restore/next"):
                # No snapshot is taken here: the environment goes straight on to its after-restore hooks.
                request.answer("200 OK")
                continue
            # The figures go with the process, which ends as soon as it has the answer.
            self.used_mb = max(self.used_mb, float(self._peak_mb()))
            request.answer("202 Accepted")
            if request.path.endswith(("/init/error", "/restore/error")):
                error = json_object(request.body)
                kind = request.headers.get("lambda-runtime-function-error-type", "Runtime.Unknown")
                report = self._init_failed(started, "init_error", kind, "")
                report.error = {**report.error, **error}
                return report

    def _init_failed(self, started: float, kind: str, error_type: str, message: str) -> InitReport:
        duration_ms = (time.monotonic() - started) * 1000
        if self._api is not None:
            self._api.drain_log()
        status = "timeout" if kind == "timeout" else "error"
        self.log.platform(
            f"INIT_REPORT Init Duration: {duration_ms:.2f} ms\tPhase: init\tStatus: {status}\tError Type: {error_type}",
            "platform.initReport",
            {"status": status, "errorType": error_type, "metrics": {"durationMs": round(duration_ms, 3)}},
        )
        return InitReport(False, duration_ms, {"errorType": error_type, "errorMessage": message}, kind)

    def _spawn(self) -> None:
        """Start the process.

        Raises:
            LocalCloudError: KW607, the system refused the program.
        """
        launch = self.launch
        self.tmp.mkdir(parents=True, exist_ok=True)
        # One byte over the limit proves that it was passed; the rest of a larger body is counted, not kept.
        self._api = RuntimeApi(body_limit=RESPONSE_MAX_BYTES)
        self.kill_reason = ""
        argv, variables = command_and_environment(
            launch,
            self.pool,
            self.log_stream,
            self._runtimes,
            region=self._context.region,
            endpoint=self._context.endpoint,
        )
        context = {"lambda:SourceFunctionArn": launch.arn.rpartition(":")[0]}
        session = self._context.credentials.issue(launch.role_arn, launch.function, context=context)
        self._access_key = session.access_key_id
        variables |= session.as_environment()
        variables |= {"AWS_LAMBDA_RUNTIME_API": self._api.address, "TMPDIR": str(self.tmp)}
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        try:
            self._child = self._context.processes.spawn(
                argv,
                kind="environment",
                name=f"{launch.function}:{launch.version} {self.pool} {self.id[:8]}",
                env={**launch.variables, **variables},
                cwd=launch.code,
                stdout=write_fd,
                stderr=write_fd,
            )
        except LocalCloudError:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        self._api.attach(self._child, read_fd, self.log.feed)
        self._limit(self._child.pid)
        if self._stopping:
            # `stop` came while there was no process to kill yet.
            self._context.processes.signal(self._child, signal.SIGKILL)
        self._set_state("init")

    def _put_log(self, lines: list[str]) -> None:
        """Write to CloudWatch with the rights of the function's role; without them the lines are lost, as on AWS."""
        context, launch = self._context, self.launch
        if not self._may_log:
            group = f"arn:aws:logs:{context.region}:{context.account_id}:log-group:{launch.log_group}"
            try:
                context.iam.authorize(
                    launch.role_arn, "logs:PutLogEvents", f"{group}:log-stream:{self.log_stream}"
                )
            except AwsError:
                # IAM has put the refusal into the journal; the function itself never learns of it.
                return
            self._may_log = True
        context.logs.put(launch.log_group, self.log_stream, lines)

    def _limit(self, pid: int) -> None:
        if not hasattr(resource, "prlimit"):
            return
        files, storage = limits.LAMBDA_FILE_DESCRIPTORS_MAX, self.launch.ephemeral_mb * limits.MIB
        # A process that ended at once has no limits to set; its death is read in the init phase.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (storage, storage))
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))

    # --- invoke phase -------------------------------------------------------------------------------------------

    def invoke(self, call: Call, *, init: InitReport | None, deadline_s: float | None = None) -> Outcome:
        """Hand one event to the runtime and wait for its answer, the end of the process, or the timeout.

        Args:
            call: the invocation.
            init: the init phase that this invocation paid for, None when the environment was warm.
            deadline_s: end of the invocation (monotonic) when part of its time is already used up.
        """
        with self._use:
            return self._invoke(call, init, deadline_s)

    def _invoke(self, call: Call, init: InitReport | None, deadline_s: float | None) -> Outcome:
        if self._api is None:
            # The cloud closed between the start of this environment and its first event.
            return failed("exit", _EXIT, f"RequestId: {call.request_id} Error: environment stopped")
        started = time.monotonic()
        deadline = started + self.launch.timeout_s if deadline_s is None else deadline_s
        self._thaw()
        self._set_state("busy")
        if init is None:
            self.log.forget_tail()
        self.log.platform(
            f"START RequestId: {call.request_id} Version: {self.launch.version}",
            "platform.start",
            {"requestId": call.request_id, "version": self.launch.version},
        )
        self._watcher.add(self)
        try:
            outcome = self._exchange(call, deadline)
        except Late:
            self._kill("timeout")
            outcome = self._timed_out(call)
        except Gone:
            kind, message = self._death()
            outcome = failed(kind, _EXIT, f"RequestId: {call.request_id} Error: {message}")
        finally:
            self._watcher.remove(self)
        outcome.duration_ms = (time.monotonic() - started) * 1000
        self._finish(call, outcome, init)
        return outcome

    def fail(self, call: Call, outcome: Outcome) -> Outcome:
        """End an invocation that never reached a runtime: its lines of log are written all the same."""
        with self._use:
            version = self.launch.version
            text = f"START RequestId: {call.request_id} Version: {version}"
            self.log.platform(text, "platform.start", {"requestId": call.request_id, "version": version})
            self._report(call, outcome)
            outcome.tail = self.log.tail()
            self.log.flush()
        return outcome

    def _exchange(self, call: Call, deadline: float) -> Outcome:
        assert self._api is not None
        if self._next is None:
            self._next = self._await_next(deadline)
        left_s = deadline - time.monotonic()
        headers = (
            "Content-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {call.request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int((time.time() + left_s) * 1000)}\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: {call.arn}\r\n"
            # Without this header AWS's own runtime client crashes.
            f"Lambda-Runtime-Trace-Id: {call.trace_id}\r\n"
        )
        if call.client_context:
            context = base64.b64decode(call.client_context).decode("utf-8", "replace")
            headers += f"Lambda-Runtime-Client-Context: {context}\r\n"
        self._next.answer("200 OK", headers, call.payload)
        self._next = None
        prefix = f"/2018-06-01/runtime/invocation/{call.request_id}/"
        while True:
            request = self._api.next_request(deadline)
            if request.path == prefix + "response":
                return self._response(request)
            if request.path == prefix + "error":
                request.answer("202 Accepted")
                return Outcome(request.body or b"null", "Unhandled", "error")
            if request.path.endswith("/invocation/next"):
                # Asking for an event without having answered the last one: the invocation stays open until it ends.
                self._next = request
                continue
            request.answer("400 Bad Request", "", b'{"errorType":"InvalidRequestID"}')

    def _response(self, request: RuntimeRequest) -> Outcome:
        if request.size > RESPONSE_MAX_BYTES:
            request.answer("413 Request Entity Too Large", "", b'{"errorType":"RequestEntityTooLarge"}')
            outcome = failed(
                "response_too_large",
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX_BYTES} bytes).",
            )
            return outcome
        request.answer("202 Accepted")
        return Outcome(request.body)

    def _await_next(self, deadline: float) -> RuntimeRequest:
        assert self._api is not None
        while True:
            request = self._api.next_request(deadline)
            if request.path.endswith("/invocation/next"):
                return request
            request.answer("403 Forbidden", "", b'{"errorType":"InvalidStateTransition"}')

    def _timed_out(self, call: Call) -> Outcome:
        message = f"Task timed out after {self.launch.timeout_s:.2f} seconds"
        if not self.launch.json_log:
            self.log.line(f"{timestamp()} {call.request_id} {message}")
        return failed("timeout", "Sandbox.Timedout", f"RequestId: {call.request_id} Error: {message}")

    def _finish(self, call: Call, outcome: Outcome, init: InitReport | None) -> None:
        assert self._api is not None
        self._api.drain_log()
        if outcome.reusable:
            self._rest()
        outcome.init_ms = init.duration_ms if init and init.ok else None
        outcome.max_memory_mb = self._peak_mb()
        used = self.storage_bytes()
        if outcome.kind == "ok" and used > self.launch.ephemeral_mb * limits.MIB:
            self._kill("storage")
            kind, message = self._death()
            ended = failed(kind, _EXIT, f"RequestId: {call.request_id} Error: {message}")
            outcome.payload, outcome.error, outcome.kind, outcome.reusable = (
                ended.payload,
                "Unhandled",
                kind,
                False,
            )
        self._report(call, outcome)
        outcome.tail = self.log.tail()
        self.log.flush()

    def _report(self, call: Call, outcome: Outcome) -> None:
        launch = self.launch
        self.log.end_line()
        billed = math.ceil(outcome.duration_ms + (outcome.init_ms or 0.0))
        status = {"ok": "", "error": "", "timeout": "timeout"}.get(outcome.kind, "error")
        kind = "Runtime.OutOfMemory" if outcome.kind == "memory" else error_type(outcome.payload)
        if not launch.json_log:
            self.log.line(f"END RequestId: {call.request_id}")
        text = (
            f"REPORT RequestId: {call.request_id}\tDuration: {outcome.duration_ms:.2f} ms\tBilled Duration: {billed} ms"
            f"\tMemory Size: {launch.memory_mb} MB\tMax Memory Used: {outcome.max_memory_mb} MB\t"
        )
        if outcome.init_ms is not None:
            text += f"Init Duration: {outcome.init_ms:.2f} ms\t"
        if status:
            text += f"Status: {status}" + (f"\tError Type: {kind}" if status == "error" else "")
        metrics = {
            "durationMs": round(outcome.duration_ms, 3),
            "billedDurationMs": billed,
            "memorySizeMB": launch.memory_mb,
            "maxMemoryUsedMB": outcome.max_memory_mb,
        }
        if outcome.init_ms is not None:
            metrics["initDurationMs"] = round(outcome.init_ms, 3)
        record = {"requestId": call.request_id, "status": status or "success", "metrics": metrics}
        self.log.platform(text, "platform.report", record)

    def _rest(self) -> None:
        """Wait a moment for the runtime to ask for its next event, then freeze it."""
        assert self._api is not None
        if self._next is None:
            try:
                self._next = self._await_next(time.monotonic() + _NEXT_AFTER_ANSWER_S)
            except Late:
                # Handlers that leave work behind are frozen in the middle of it, as on AWS.
                self._next = None
            except Gone:
                # Found again, and the environment dropped, by the next acquire.
                self._next = None
        self._freeze()

    # --- state --------------------------------------------------------------------------------------------------

    def set_idle(self) -> None:
        """Note the moment from which the idle time counts."""
        self.idle_since_s = self._context.clock.now_s()
        self._set_state("frozen" if self._frozen else "idle")

    def _freeze(self) -> None:
        if self._watcher.freeze and self._child is not None and not self._frozen:
            self._frozen = True
            self._context.processes.signal(self._child, signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop the process until the next invocation, as Lambda freezes an environment between events."""
        self._freeze()

    def _thaw(self) -> None:
        if self._frozen and self._child is not None:
            self._frozen = False
            self._context.processes.signal(self._child, signal.SIGCONT)

    def _kill(self, reason: str) -> None:
        self.kill_reason = self.kill_reason or reason
        if self._child is not None:
            # Its figures go with the process.
            self.used_mb = max(self.used_mb, float(self._peak_mb()))
            self._context.processes.signal(self._child, signal.SIGKILL)
            self._child.wait()

    def kill(self, reason: str) -> None:
        """Kill the process from outside (memory or storage limit); whoever waits for it learns why.

        Args:
            reason: `memory`, `storage`, or `stopped` for good: no process is started in it again.
        """
        self._stopping |= reason == "stopped"
        self.kill_reason = self.kill_reason or reason
        if self._child is not None:
            self._context.processes.signal(self._child, signal.SIGKILL)

    def _death(self) -> tuple[str, str]:
        """Kind and message of a process that ended, with advice in the log where there is some."""
        assert self._child is not None
        status = self._child.wait()
        if self._api is not None:
            self._api.drain_log()
        launch = self.launch
        who = f"lambda {launch.function}:{launch.version}"
        if self.kill_reason == "memory":
            advice = math.ceil(self.used_mb * 1.25 / 64) * 64
            self.log.line(
                f"KW622 {who}: got {self.used_mb:.0f} MB of memory in use; allowed {launch.memory_mb} MB; because the "
                f"function's MemorySize is its limit and Lambda kills what exceeds it; fix: set MemorySize to at least "
                f"{min(advice, limits.LAMBDA_MEMORY_MAX_MB)} MB, or hold less at once"
            )
            return "memory", "Runtime exited with error: signal: killed"
        if self.kill_reason == "storage":
            used_mb = self.storage_bytes() / limits.MIB
            self.log.line(
                f"KW623 {who}: got {used_mb:.0f} MB in /tmp; allowed {launch.ephemeral_mb} MB; because "
                "EphemeralStorage limits it (on AWS the write itself fails with ENOSPC); fix: raise "
                "EphemeralStorage, or delete what is no longer needed"
            )
            return "storage", "[Errno 28] No space left on device (EphemeralStorage exceeded)"
        if status < 0:
            name = signal.Signals(-status).name.removeprefix("SIG").lower()
            word = {"kill": "killed", "segv": "segmentation fault", "abrt": "aborted"}.get(name, name)
            return "exit", f"Runtime exited with error: signal: {word}"
        if status == 0:
            return "exit", "Runtime exited without providing a reason"
        return "exit", f"Runtime exited with error: exit status {status}"

    def _peak_mb(self) -> int:
        """Highest resident memory so far; pages of files beyond the limit would be given back, so never more."""
        peak_kb = 0
        if self._child is not None and sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{self._child.pid}/status").read_text()
                peak_kb = int(status.split("VmHWM:", 1)[1].split(None, 1)[0])
        return min(math.ceil(max(peak_kb / 1024, self.used_mb)), self.launch.memory_mb)

    def storage_bytes(self) -> int:
        """Bytes on disk under this environment's /tmp."""
        total, todo = 0, [self.tmp]
        while todo:
            # Files come and go under a running function.
            with contextlib.suppress(OSError):
                for entry in os.scandir(todo.pop()):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(Path(entry.path))
                    else:
                        with contextlib.suppress(OSError):
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
        return total

    def stop(self, why: str) -> None:
        """End the process and remove everything the environment had. Idempotent; waits for who still uses it."""
        if self._child is not None:
            self._context.processes.signal(self._child, signal.SIGKILL)
        with self._use:
            if self.state in ("stopped", "failed"):
                return
            self._release_process()
            self.log.flush()
            shutil.rmtree(self._root, ignore_errors=True)
            self._set_state("failed" if why == "failed" else "stopped", why=why)

    def _release_process(self) -> None:
        """End what is left of the process and close its sockets, pipes and credentials."""
        if self._child is not None:
            self._context.processes.end(self._child)
        if self._api is not None:
            self._api.drain_log()
            self.log.end_line()
            self._api.close()
        if self._access_key:
            self._context.credentials.revoke(self._access_key)
        self._api = self._child = self._next = None
        self._frozen = False

    def _set_state(self, state: str, **facts: Any) -> None:
        self.state = state
        self._context.journal.write(
            "environment",
            function=self.launch.function,
            version=self.launch.version,
            environment=self.id,
            state=state,
            pool=str(self.pool),
            pid=self.pid,
            **facts,
        )
