"""The garbage collector around starts and deployments: left as it was found, whatever happens inside."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from keepwarm_localcloud.engine import garbage_collection
from keepwarm_localcloud.engine.driver import Deployment
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    yield
    gc.enable()
    gc.unfreeze()


def test_given_a_pause_in_a_pause_when_both_end_then_objects_are_collected_again() -> None:
    with garbage_collection.PAUSED:
        with garbage_collection.PAUSED:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_given_a_pause_when_it_fails_then_objects_are_collected_again() -> None:
    with pytest.raises(ZeroDivisionError), garbage_collection.PAUSED:
        raise ZeroDivisionError
    assert gc.isenabled()


def test_given_a_collector_that_somebody_turned_off_when_a_pause_ends_then_it_stays_off() -> None:
    gc.disable()
    with garbage_collection.PAUSED:
        pass
    assert not gc.isenabled()


def test_given_old_objects_when_set_aside_then_a_collection_looks_at_new_ones_alone() -> None:
    old = [[] for _ in range(1000)]
    with garbage_collection.SET_ASIDE:
        new: list[object] = []
        with garbage_collection.SET_ASIDE:
            pass
        seen = {id(found) for found in gc.get_objects()}
        assert id(new) in seen
        assert id(old) not in seen
    assert id(old) in {id(found) for found in gc.get_objects()}


def test_given_garbage_from_before_when_the_block_fails_then_it_is_collected_after() -> None:
    class Cycle:
        alive = True

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            Cycle.alive = False

    def work() -> None:
        with garbage_collection.SET_ASIDE:
            gc.collect()
            assert Cycle.alive
            raise ZeroDivisionError

    Cycle()
    with pytest.raises(ZeroDivisionError):
        work()
    gc.collect()
    assert not Cycle.alive


def test_given_objects_frozen_by_somebody_else_when_the_block_ends_then_just_those_stay_frozen() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    made: list[object] = []
    with garbage_collection.SET_ASIDE:
        made.append([])
        assert gc.get_freeze_count() <= before
    assert 0 < gc.get_freeze_count() <= before
    assert id(made[0]) in {id(found) for found in gc.get_objects()}


def test_given_a_program_when_it_is_deployed_then_old_objects_are_set_aside_until_its_end() -> None:
    seen: list[int] = []
    deployment = Deployment("http://127.0.0.1:9", project="p", stack="s")
    try:
        deployment.up(lambda: seen.append(gc.get_freeze_count()))
    finally:
        deployment.close()

    assert seen[0] > 10_000
    assert gc.get_freeze_count() == 0


def test_given_a_cloud_process_when_it_has_imported_all_then_it_collects_what_comes_after() -> None:
    code = """
import gc, sys, threading
from keepwarm_localcloud import __main__ as it
collecting, done, collect = [gc.isenabled()], threading.Event(), it._collect_from_here
def preloaded():
    collecting.append(gc.isenabled())
    collect()
    collecting.append(gc.isenabled())
    done.set()
it._collect_from_here = preloaded
it._wait = lambda *_, **__: done.wait(600)
status = it.main(["--port", "0"])
print(status, collecting, gc.get_freeze_count() > 100_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.stdout.splitlines()[-1] == "0 [True, False, True] True", done.stderr
