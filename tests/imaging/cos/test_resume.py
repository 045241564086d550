"""Uploads that were stopped, killed or cleared away, and what the next one makes of it."""

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from imaging.cos.slide import file_md5
from imaging.errors import InputInvalid, Refused, Stopped
from tests.servers.cos import CosServer
from tests.servers.cos_faults import LOST
from tests.uploads import MIB, World, built, stopped_after
from tests.waiting import DEADLINE_S

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def world(server: CosServer, tmp_path: Path) -> World:
    """A slide of six parts, the last of them small."""
    return built(server, tmp_path, 5 * MIB + 4321)


def test_a_record_left_by_a_kill_after_the_end_is_cleared_away(world: World) -> None:
    stopped_after(world, 2)
    left = world.record.read_bytes()
    world.upload()
    world.record.write_bytes(left)

    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (0, 6)
    assert not world.record.exists()


def test_a_stopped_upload_goes_on_where_it_was(world: World) -> None:
    stopped_after(world, 4)

    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (2, 4)
    assert world.arrived()
    # Which four arrived first is chance; the last is short.
    assert world.progress[0] in {(4 * MIB, done.size), (3 * MIB + 4321, done.size)}
    assert world.server.actions["initiate"] == 1
    assert not world.record.exists()


def test_a_stop_leaves_no_thread_at_work(world: World) -> None:
    stopped_after(world, 2)

    for thread in threading.enumerate():
        if "WorkerThread" in type(thread).__name__:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), thread.name


def test_a_stop_before_the_start_sends_nothing(world: World) -> None:
    world.stop.set()

    with pytest.raises(Stopped):
        world.upload()
    with pytest.raises(Stopped):
        file_md5(world.slide, stop=world.stop)
    assert not world.server.actions


def test_the_list_of_parts_is_read_to_its_end(world: World) -> None:
    stopped_after(world, 5)
    world.server.page_max = 2

    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (1, 5)
    assert world.server.actions["list"] == 3


def test_another_part_size_does_not_disturb_what_is_under_way(world: World) -> None:
    stopped_after(world, 4)

    done = world.upload(rules=replace(world.rules, part_size_mib=2))

    assert (done.parts_sent, done.parts_kept) == (2, 4)
    assert world.arrived()


def test_a_part_that_is_there_otherwise_is_sent_again(world: World) -> None:
    stopped_after(world, 4)
    upload = next(iter(world.server.uploads.values()))
    spoilt = min(upload.parts)
    path, _ = upload.parts[spoilt]
    path.write_bytes(b"?" * MIB)
    upload.parts[spoilt] = (path, hashlib.md5(b"?" * MIB).hexdigest())

    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (3, 3)
    assert world.arrived()


def test_the_record_is_private_and_holds_no_secret(world: World) -> None:
    stopped_after(world, 2)

    text = world.record.read_text()
    assert stat.S_IMODE(world.record.stat().st_mode) == 0o600
    assert set(json.loads(text)) == {"bucket", "region", "key", "md5", "size", "part_size", "upload_id"}
    assert not any(
        secret in text
        for token in world.server.tokens.values()
        for secret in (token.secret_id, token.secret_key, token.session_token)
    )
    assert os.listdir(world.record.parent) == [world.record.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"part_size": 0}', b"[" * 100_000])
def test_a_broken_record_is_a_fresh_start(world: World, content: bytes) -> None:
    world.record.parent.mkdir()
    world.record.write_bytes(content)

    assert world.upload().parts_sent == 6
    assert world.arrived()


@pytest.mark.parametrize(
    "changes", [{"key": "SLIDES/other"}, {"md5": "0" * 32}, {"size": 1}, {"bucket": "other"}, {"part_size": 5 * 2**40}]
)
def test_a_record_of_another_upload_is_a_fresh_start(world: World, changes: dict[str, Any]) -> None:
    stopped_after(world, 4)
    world.record.write_text(json.dumps(json.loads(world.record.read_text()) | changes))

    assert world.upload().parts_sent == 6
    assert world.arrived()


def test_a_record_that_cannot_be_written_is_named(world: World) -> None:
    world.record.mkdir(parents=True)

    with pytest.raises(InputInvalid, match=r"续传记录无法读写：upload\.json") as caught:
        world.upload()
    assert caught.value.field == "record"
    assert world.server.actions["part"] == 0


def test_an_upload_that_was_cleared_away_starts_afresh(world: World) -> None:
    stopped_after(world, 4)
    world.server.drop_uploads()

    assert world.upload().parts_sent == 6
    assert world.arrived()


def test_an_upload_that_is_cleared_away_in_the_middle_starts_afresh(world: World) -> None:
    dropped = threading.Event()

    def drop(number: int) -> None:
        if number == 4 and not dropped.is_set():
            dropped.set()
            world.server.drop_uploads()

    world.server.on_part = drop

    world.upload()

    assert world.arrived()
    assert world.server.actions["initiate"] == 2


def test_an_upload_that_is_cleared_away_again_and_again_fails(world: World) -> None:
    world.server.on_part = lambda number: world.server.drop_uploads()

    with pytest.raises(Refused) as caught:
        world.upload()
    assert caught.value.code == "NoSuchUpload"


def test_a_token_without_leave_to_look_or_list_still_uploads(world: World) -> None:
    world.server.forbidden = {"head", "list"}
    stopped_after(world, 4)

    assert world.upload().parts_sent == 6
    assert world.arrived()


def test_a_completion_whose_answer_is_lost_is_looked_up(world: World) -> None:
    world.server.next("complete", LOST)

    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (6, 0)
    assert world.arrived()
    assert world.server.actions["initiate"] == 1


@contextlib.contextmanager
def child(world: World) -> Iterator[subprocess.Popen[str]]:
    job = world.folder / "job.json"
    told = {"path": str(world.slide), "key": world.key, "md5": world.md5, "record": str(world.record)}
    job.write_text(json.dumps({**told, "rules": asdict(world.rules), "credentials": world.server.issue(world.key)}))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.uploading", str(job)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_and_done_again(world: World, after: int) -> dict[str, Any]:
    """What the second process says; the first was killed when COS had so many parts."""
    world.server.holds_after = after
    with child(world) as first:
        world.server.wait_for_parts(after)
        first.kill()
        first.communicate(timeout=DEADLINE_S)
    assert world.record.exists()
    world.server.holds_after = None
    before = world.times_asked()
    there = {number for upload in world.server.uploads.values() for number in upload.parts}
    with child(world) as second:
        out, err = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    again = {part for part, times in world.times_asked().items() if times > before.get(part, 0)}
    assert not again & there
    assert (said["parts_kept"], len(there)) == (after, after)
    return said


def test_a_killed_upload_sends_what_was_missing_and_nothing_else(server: CosServer, tmp_path: Path) -> None:
    world = built(server, tmp_path, 40 * MIB)

    said = killed_and_done_again(world, after=17)

    assert (said["parts_sent"], said["parts_kept"]) == (23, 17)
    assert world.arrived()
    assert not world.record.exists()


@pytest.mark.soak
def test_300_mib_are_resumed_after_a_kill_in_little_memory(server: CosServer, tmp_path: Path) -> None:
    world = built(server, tmp_path, 300 * MIB)
    world.rules = replace(world.rules, part_size_mib=8, threads=4)

    said = killed_and_done_again(world, after=19)

    print(said)
    assert (said["parts_sent"], said["parts_kept"]) == (19, 19)
    assert file_md5(server.objects[world.key], stop=threading.Event()) == world.md5 == said["md5"]
    assert said["peak_mib"] < 200
