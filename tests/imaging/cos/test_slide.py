"""Uploads to a server that verifies what COS verifies: whole, in parts, of files that are not what they were."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imaging.cos.slide import Uploaded, file_md5, slide_key
from imaging.errors import InputInvalid
from tests.servers.cos import CosServer
from tests.uploads import MIB, World, built


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def world(server: CosServer, tmp_path: Path) -> World:
    """A slide of six parts, the last of them small."""
    return built(server, tmp_path, 5 * MIB + 4321)


def test_a_small_file_is_one_put(server: CosServer, tmp_path: Path) -> None:
    world = built(server, tmp_path, 12_345)

    done = world.upload()

    assert done == Uploaded(key=world.key, md5=world.md5, size=12_345, parts_sent=1, parts_kept=0)
    assert world.arrived()
    assert server.actions["put"] == 1
    assert server.actions["initiate"] == 0
    assert world.progress == [(0, 12_345), (12_345, 12_345)]
    assert not world.record.exists()


def test_a_large_file_goes_in_parts_and_arrives_as_it_was(world: World) -> None:
    done = world.upload()

    assert (done.parts_sent, done.parts_kept, done.size) == (6, 0, 5 * MIB + 4321)
    assert world.arrived()
    assert world.times_asked() == dict.fromkeys(range(1, 7), 1)
    assert not world.record.exists()
    assert len(world.fetched) == 1


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB])
def test_no_byte_is_lost_at_the_seams(server: CosServer, tmp_path: Path, size: int) -> None:
    world = built(server, tmp_path, size)

    done = world.upload()

    assert world.arrived()
    assert done.parts_sent == -(-size // MIB)


@pytest.mark.parametrize("name", ["片(1)+&=%2F?#.svs", "a b.svs", "…svs", "x~_-.svs", "ab..svs"])
@pytest.mark.parametrize("size", [1000, 2 * MIB])
def test_unusual_names_are_signed_as_they_are(server: CosServer, tmp_path: Path, name: str, size: int) -> None:
    world = built(server, tmp_path, size)
    world.key = slide_key("20260102", f"{name}.", world.md5, name)

    world.upload()

    assert world.arrived()


def test_a_connection_is_used_again(world: World) -> None:
    world.upload(rules=replace(world.rules, threads=1))

    assert sum(world.server.actions.values()) > 8
    assert world.server.connections <= 2


def test_progress_goes_up_to_the_whole_and_never_back(world: World) -> None:
    world.upload()

    done = [bytes_done for bytes_done, _ in world.progress]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, world.slide.stat().st_size)
    assert {total for _, total in world.progress} == {world.slide.stat().st_size}
    assert len(done) > 6


def test_what_is_there_is_not_sent_again(world: World) -> None:
    world.upload()
    done = world.upload()

    assert (done.parts_sent, done.parts_kept) == (0, 6)
    assert world.server.actions["part"] == 6
    assert world.progress[-1] == (done.size, done.size)


def test_another_object_under_the_key_is_replaced(world: World) -> None:
    other = world.folder / "other"
    other.write_bytes(b"cut short")
    world.server.objects[world.key] = other
    world.server.meta[world.key] = {"x-cos-meta-md5": world.md5}

    assert world.upload().parts_sent == 6
    assert world.arrived()


Change = Callable[[World], object]
CHANGES: dict[str, Change] = {
    "a byte": lambda world: world.rewrite(5 * MIB + 10, b"changed"),
    "shorter": lambda world: os.truncate(world.slide, 5 * MIB + 9),
    "emptied": lambda world: os.truncate(world.slide, 0),
}


@pytest.mark.parametrize("change", ["a byte", "shorter", "longer"])
def test_a_file_that_is_not_the_one_of_the_md5_is_refused_before_anything_is_sent(world: World, change: str) -> None:
    if change == "longer":
        world.rewrite(world.slide.stat().st_size, b"more")
    else:
        CHANGES[change](world)

    with pytest.raises(InputInvalid, match="被修改"):
        world.upload()
    assert not world.server.actions


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_sent_does_not_arrive(world: World, change: str) -> None:
    world.server.on_part = lambda number: CHANGES[change](world) if number == 2 else None

    with pytest.raises(InputInvalid, match="被修改"):
        world.upload(rules=replace(world.rules, threads=1))
    assert not world.server.objects
    assert all(6 not in upload.parts for upload in world.server.uploads.values())


def test_a_file_that_is_replaced_while_it_is_sent_arrives_as_it_was(world: World) -> None:
    before = world.slide.read_bytes()

    def swap(number: int) -> None:
        if number == 2:
            world.slide.unlink()
            world.slide.write_bytes(b"another")

    world.server.on_part = swap
    world.upload(rules=replace(world.rules, threads=1))

    assert world.server.objects[world.key].read_bytes() == before


def test_files_that_cannot_be_sent_are_named(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty.svs"
    empty.touch()
    for path in (tmp_path / "none.svs", tmp_path, empty, tmp_path / "a\0b"):
        with pytest.raises(InputInvalid) as caught:
            file_md5(path, stop=threading.Event())
        assert caught.value.field == "file"


def test_the_md5_is_of_the_whole_and_told_on_the_way(world: World) -> None:
    told: list[tuple[int, int]] = []

    md5 = file_md5(world.slide, stop=world.stop, progress=lambda done, total: told.append((done, total)))

    assert md5 == hashlib.md5(world.slide.read_bytes()).hexdigest()
    assert told[-1] == (world.slide.stat().st_size, world.slide.stat().st_size)
    assert len(told) == 6
