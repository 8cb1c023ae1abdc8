"""`keepwarm model ...` against the embedded cloud's S3: the same code that functions load with, driven as a user does.

The cache's and the registry's own rules are held by tests/functions; this holds what the terminal shows.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from tests.support.patience import PATIENCE_S


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with Cloud(CloudSettings(account_id="210987654321")) as cloud:
        s3 = cloud.boto("s3")
        s3.create_bucket(Bucket="registry")
        s3.put_bucket_versioning(Bucket="registry", VersioningConfiguration={"Status": "Enabled"})
        yield cloud.endpoint


def model(endpoint: str, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "KEEPWARM_MODEL_BUCKET": "registry",
        "AWS_ACCESS_KEY_ID": "operator",
        "AWS_SECRET_ACCESS_KEY": "operator",
        "AWS_REGION": "us-east-1",
    }
    return subprocess.run(
        [sys.executable, "-m", "keepwarm_cli", "model", *words],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"\x08\x07" + b"weights" * 1000)
    return tmp_path / "model"


def test_given_a_folder_when_published_twice_then_the_second_sends_nothing_and_says_the_same(
    endpoint: str, folder: Path
) -> None:
    first = model(endpoint, "publish", str(folder), "--name", "twice", "--version", "1.0.0", "--json")
    second = model(endpoint, "publish", str(folder), "--name", "twice", "--version", "1.0.0", "--json")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert json.loads(first.stdout)["digest"] == json.loads(second.stdout)["digest"]
    assert json.loads(first.stdout)["bytes_written"] > 0
    assert json.loads(second.stdout)["bytes_written"] == 0


def test_given_a_release_when_promoted_verified_listed_and_rolled_back_then_the_channel_follows(
    endpoint: str, folder: Path
) -> None:
    for version in ("1.0.0", "1.1.0"):
        (folder / "version.txt").write_text(version)
        done = model(endpoint, "publish", str(folder), "--name", "cycle", "--version", version, "--json")
        assert done.returncode == 0, done.stderr
        promoted = model(
            endpoint, "promote", f"cycle@sha256:{json.loads(done.stdout)['digest']}", "--channel", "stable"
        )
        assert promoted.stdout == f"cycle:stable is now {version}\n"

    verified = model(endpoint, "verify", "cycle:stable")
    assert verified.stdout == "cycle:stable: every chunk is what its manifest says\n"
    listed = json.loads(model(endpoint, "list", "--json").stdout)
    assert {r["version"] for r in listed if r["name"] == "cycle"} == {"1.0.0", "1.1.0"}
    rolled = model(endpoint, "rollback", "cycle", "--channel", "stable", "--to", "1.0.0")
    assert rolled.stdout == "cycle:stable is back at 1.0.0\n"


def test_given_a_rollback_floor_when_rolled_back_below_it_then_the_way_out_it_names_is_one(
    endpoint: str, folder: Path
) -> None:
    for version, floor in (("1.0", "1.0"), ("2.0", "2.0")):
        (folder / "version.txt").write_text(version)
        done = model(
            endpoint, "publish", str(folder), "--name", "held", "--version", version, "--channel", "stable",
            "--floor", floor,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    back = ("rollback", "held", "--channel", "stable", "--to", "1.0")
    refused = model(endpoint, *back)
    assert refused.returncode == 1
    assert refused.stderr.startswith("KW406 channel held:stable: got version 1.0; allowed 2.0 or later")
    assert "`keepwarm model rollback --floor`" in refused.stderr
    lowered = model(endpoint, *back, "--floor", "1.0", "--json")
    assert json.loads(lowered.stdout)["pointer"] | {"digest": ""} == {
        "channel": "stable",
        "version": "1.0",
        "digest": "",
        "floor": "1.0",
    }


def test_given_another_content_under_a_used_version_then_refused(endpoint: str, folder: Path) -> None:
    assert model(endpoint, "publish", str(folder), "--name", "fixed", "--version", "1").returncode == 0
    (folder / "model.onnx").write_bytes(b"other weights")
    done = model(endpoint, "publish", str(folder), "--name", "fixed", "--version", "1")

    assert done.returncode == 1
    assert done.stderr.startswith("KW4")
    assert done.stderr.count("\n") == 1


def test_given_a_pickle_in_any_disguise_then_nothing_is_published(endpoint: str, folder: Path) -> None:
    (folder / "weights.onnx").write_bytes(pickle.dumps({"a": [1.0] * 100}))
    done = model(endpoint, "publish", str(folder), "--name", "evil", "--version", "1")

    assert done.returncode == 1
    assert done.stderr.startswith("KW407 ")
    assert "evil" not in model(endpoint, "list", "--json").stdout


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["verify", "none@sha256:" + "0" * 64], "KW409 "),
        (["verify", "none:stable"], "KW409 "),
        (["verify", "bad reference"], "KW4"),
        (
            ["publish", "/nowhere", "--name", "a", "--version", "1"],
            "KW659 model: got /nowhere, which is not a folder",
        ),
    ],
)
def test_given_bad_input_then_one_coded_line(endpoint: str, words: list[str], start: str) -> None:
    done = model(endpoint, *words)

    assert done.returncode in {1, 2}
    assert done.stderr.startswith(start), done.stderr
    assert done.stderr.count("\n") == 1
