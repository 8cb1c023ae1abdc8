"""A cloud with Lambda in it, and tiny functions for tests: zips built in memory, roles that Lambda may assume."""

import io
import itertools
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session
import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import Clock, RealClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.lambda_ import LambdaService
from keepwarm_localcloud.services.sqs import SqsService
from tests.support.patience import T, until

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
ECHO = "def handler(event, context):\n    return event\n"
_numbers = itertools.count(1)


def archive(files: Mapping[str, str | bytes], *, executable: tuple[str, ...] = ()) -> bytes:
    """Zip some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if name in executable else 0o644) << 16
            opened.writestr(info, content)
    return buffer.getvalue()


class Lab:
    """A running cloud and short ways to do with it what tests do."""

    def __init__(self, cloud: Cloud, service: LambdaService) -> None:
        self.cloud = cloud
        self.service = service
        self._clients: list[Any] = []
        self.client = self.boto("lambda")
        iam = cloud.boto("iam")
        self.role: str = iam.create_role(RoleName="lab", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"][
            "Arn"
        ]
        iam.put_role_policy(RoleName="lab", PolicyName="all", PolicyDocument=json.dumps(EVERYTHING))

    def role_for(self, *statements: Mapping[str, Any]) -> str:
        """A role that Lambda may assume and that may do what the statements say, and nothing else."""
        name = f"role-{next(_numbers)}"
        iam = self.cloud.boto("iam")
        arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
        return arn

    def boto(self, service: str) -> Any:
        """A client that never retries: a refusal is what the test wants to see."""
        session = botocore.session.get_session()
        client = session.create_client(
            service,
            region_name=self.cloud.region,
            endpoint_url=self.cloud.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(
                # The refusal must come from the server.
                parameter_validation=False,
                retries={"total_max_attempts": 1},
                read_timeout=60,
            ),
        )
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the connections of every client."""
        for client in self._clients:
            client.close()

    def function(self, source: str = ECHO, **options: Any) -> str:
        """Create a function from the source of its `app.py`; gives its name."""
        name: str = options.pop("FunctionName", f"fn-{next(_numbers)}")
        code = options.pop("Code", None) or {"ZipFile": archive({"app.py": source})}
        self.client.create_function(
            **{"FunctionName": name, "Runtime": RUNTIME, "Handler": "app.handler", "Role": self.role, "Code": code,
               **options}
        )  # fmt: skip
        return name

    def call(self, name: str, payload: Any = None, **options: Any) -> Any:
        """Invoke and give the parsed answer."""
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(payload or {}), **options)
        return json.loads(answer["Payload"].read() or b"null")

    def published(self, source: str = ECHO, alias: str = "live", **options: Any) -> str:
        """Create a function with version 1 and an alias on it."""
        name = self.function(source, Publish=True, **options)
        self.client.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        return name

    def provision(
        self, name: str, count: int, qualifier: str = "live", *, until: str = "READY"
    ) -> dict[str, Any]:
        """Put provisioned concurrency and wait for its status."""
        self.client.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
        )
        return self.provisioned(name, qualifier, until=until)

    def provisioned(self, name: str, qualifier: str = "live", *, until: str = "READY") -> dict[str, Any]:
        """Wait for a status of provisioned concurrency."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.get_provisioned_concurrency_config(
                FunctionName=name, Qualifier=qualifier
            )
            return found if found["Status"] == until else None

        ready: dict[str, Any] = eventually(look)
        return ready

    def queue(self, name: str | None = None, **attributes: str) -> tuple[str, str]:
        """Create a queue; gives its URL and ARN."""
        name = name or f"queue-{next(_numbers)}"
        sqs = self.cloud.boto("sqs")
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:{self.cloud.region}:{self.cloud.account_id}:{name}"

    def entries(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        """Journal entries of a kind with those facts."""
        found = [entry.facts for entry in self.cloud.journal.since(kind=kind)]
        return [f for f in found if all(f.get(k) == v for k, v in facts.items())]

    def log(self, name: str) -> list[str]:
        """Every line in the log group of a function."""
        logs = self.cloud.boto("logs")
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        return [event["message"] for event in events]


@contextmanager
def lab(
    *,
    clock: Clock | None = None,
    account: str = "123456789012",
    concurrency: int = 1000,
    services: tuple[Service, ...] = (),
    **options: Any,
) -> Iterator[Lab]:
    """Run a cloud with Lambda, SQS and whatever else is given; nothing may stay behind."""
    service = LambdaService(**options)
    settings = CloudSettings(clock=clock or RealClock(), account_id=account, account_concurrency=concurrency)
    with Cloud(settings, services=[SqsService(), *services, service]) as cloud:
        opened = Lab(cloud, service)
        try:
            yield opened
        finally:
            opened.close()


def eventually(look: Callable[[], T]) -> T:
    """Wait for a condition of the world outside this process; gives what it gave."""
    return until(look)


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    """Expect a refusal of AWS's with that code and those words."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    for word in words:
        assert word in error["Message"], error
