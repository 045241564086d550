"""Recordings become a tally by the daemon's own rules."""

import csv
from collections.abc import Callable
from pathlib import Path

import av

from tests.cli.conftest import Done
from tests.daemon.scenes import BLACK, film

Call = Callable[..., Done]
Config = Callable[..., Path]


def rows(folder: Path) -> list[dict[str, str]]:
    [path] = folder.glob("*.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def statuses(folder: Path) -> list[tuple[str, str, str]]:
    return [(row["camera"], row["status"], row["item_name"]) for row in rows(folder)]


def test_an_item_in_view_is_booked_once_with_its_time(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "out", "--started-at", "2026-04-21T10:00:00+08:00")

    done = call("analyze", clips / "left.mp4", "-c", config('[surgery]\ntimezone = "Asia/Shanghai"\n'), *arguments)

    assert done.code == 0, done
    assert statuses(tmp_path / "out") == [("left", "已记账", "纱布")]
    assert rows(tmp_path / "out")[0]["time"] == "2026-04-21T10:00:01.000+08:00"
    assert "0:01.0" in done.out
    assert "1 sightings: 1 booked, 0 asked, 0 ignored, 0 merged" in done.out
    assert "times real time" in done.out


def test_two_recordings_are_cameras_of_one_surgery(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    done = call("analyze", clips / "left.mp4", clips / "right.mp4", "-c", config(), "--out", tmp_path / "out")

    assert done.code == 0, done
    assert statuses(tmp_path / "out") == [
        ("left", "已记账", "纱布"),
        ("right", "已合并", "纱布"),
        ("right", "待确认", "纱布"),
        ("right", "未答复", "纱布"),
    ]
    assert "the same consumption as on left" in done.out
    assert "options: 纱布 / 缝线" in done.out
    assert "1 question(s)" in done.out


def test_only_candidates_are_booked(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    arguments = ("--candidate", "缝线", "--candidate", "没有的", "--out", tmp_path / "out")

    done = call("analyze", clips / "left.mp4", "-c", config(), *arguments)

    assert statuses(tmp_path / "out") == [("left", "未采纳", "纱布")]
    assert "no candidate of this surgery" in done.out
    assert "没有的" in done.err


def test_codes_come_from_the_catalogue(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("code,name,aliases\nHC001,医用纱布,纱布\n", encoding="utf-8")
    arguments = ("--catalogue", tmp_path / "catalogue.csv", "--out", tmp_path / "out")

    done = call("analyze", clips / "left.mp4", "-c", config(), *arguments)

    assert [(row["item_id"], row["item_name"]) for row in rows(tmp_path / "out")] == [("HC001", "医用纱布")]
    assert "HC001" in done.out


def test_analyzing_twice_gives_the_same_twice(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        arguments = ("--out", tmp_path / folder, "--started-at", "2026-04-21T10:00:00+08:00")
        assert call("analyze", clips / "left.mp4", clips / "right.mp4", "-c", config(), *arguments).code == 0

    def told(folder: str) -> list[dict[str, str]]:
        return [row | {"confirmation_id": ""} for row in rows(tmp_path / folder)]

    assert told("one") == told("two")


def test_nothing_in_view_is_said(call: Call, config: Config, tmp_path: Path) -> None:
    clip = film(tmp_path / "nothing.mp4", [(2, BLACK)])

    assert "No sighting" in call("analyze", clip, "-c", config()).out


def test_what_could_not_be_seen_is_said(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    data = (clips / "left.mp4").read_bytes()
    begin, end = data.index(b"mdat") + 4, data.rindex(b"moov")
    for name, share, code in (("little", 0.1, 0), ("much", 0.7, 1)):
        hole = round((end - begin) * share)
        at = end - hole - 200
        broken = tmp_path / f"{name}.mp4"
        broken.write_bytes(data[:at] + bytes(hole) + data[at + hole :])
        done = call("analyze", broken, "-c", config())
        assert done.code == code, done
        assert f"warning: {name}: " in done.err
        assert "could not be seen" in done.err
        assert "damaged" in done.err
        assert "What was found is of the rest" in done.err or not code


def test_a_recording_that_is_cut_off_says_how_much_is_missing(
    call: Call, config: Config, tmp_path: Path, clips: Path
) -> None:
    with av.open(str(clips / "left.mp4")) as source, av.open(str(tmp_path / "cut.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "cut.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 3])
    done = call("analyze", tmp_path / "cut.mkv", "-c", config())
    assert done.code == 1, done
    assert "could not be seen" in done.err
