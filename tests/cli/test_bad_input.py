"""Whatever is wrong: one line that says what, where and how to mend it, the right exit code, no traceback."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import rules
from tests.cli.conftest import Done
from tests.servers.ports import free_port
from tests.streams.clips import encode

FAILED, MISUSED = 1, 2
Call = Callable[..., Done]
Config = Callable[..., Path]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def assert_told(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done
    assert done.err.count("\n") == 1, "one line"
    assert done.err.startswith("orwatch: ")
    assert [word for word in words if word not in done.err] == [], done.err
    assert done.out == ""


@pytest.fixture
def own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that everybody has by default may be taken by a neighbour."""
    monkeypatch.setenv("ORWATCH_SERVER__PORT", str(free_port()))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[server]\nprot = 1\n", ("server.prot", "unknown key", "orwatch.example.toml")),
        ("[server]\nport = 70000\n", ("server.port", "70000", "65535")),
        ('[cameras.a]\nurl = "rtsp://${NOT_SET_ANYWHERE}@h/1"\n', ("cameras.a.url", "NOT_SET_ANYWHERE")),
        ('[rooms.r]\ncameras = ["nowhere"]\n', ("rooms.r.cameras", "nowhere")),
        ("[server\n", ("not valid TOML", "orwatch.toml")),
    ],
)
def test_a_wrong_configuration(call: Call, config: Config, more: str, words: tuple[str, ...]) -> None:
    assert_told(call("run", "-c", config(more)), MISUSED, *words)


def test_a_configuration_that_is_not_there(call: Call, tmp_path: Path) -> None:
    assert_told(call("run", "-c", tmp_path / "none.toml"), MISUSED, "none.toml", "No such file")


@pytest.mark.usefixtures("own_port")
def test_no_model_configured(call: Call, tmp_path: Path) -> None:
    assert_told(call("run"), MISUSED, "model.path", "not set")


@pytest.mark.usefixtures("own_port")
def test_a_model_that_is_not_there(call: Call, config: Config, clips: Path) -> None:
    path = config(model_path="gone.onnx")

    assert_told(call("run", "-c", path), MISUSED, "gone.onnx", "Set model.path")
    assert_told(call("analyze", clips / "left.mp4", "-c", path), MISUSED, "gone.onnx")


def test_a_model_that_is_no_model(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")

    done = call("analyze", clips / "left.mp4", "-c", config(), "--model", tmp_path / "text.onnx")

    assert_told(done, FAILED, "text.onnx", "is a text file, not an ONNX model")


def test_a_broken_catalogue(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("code,price\n1,2\n", encoding="utf-8")

    done = call("analyze", clips / "left.mp4", "-c", config(), "--catalogue", tmp_path / "catalogue.csv")

    assert_told(done, MISUSED, "catalogue.csv", "row 1", "名称")


@pytest.mark.usefixtures("own_port")
def test_a_keys_file_that_others_can_read(call: Call, config: Config, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[[keys]]\nname = "his"\nrole = "his"\nkey = "0123456789abcdef"\n')
    keys.chmod(0o644)

    done = call("run", "-c", config(f'[auth]\nkeys_file = "{keys}"\n'))

    assert_told(done, MISUSED, "keys.toml", "0600")
    assert "0123456789abcdef" not in done.err


def test_a_port_that_is_taken(call: Call, config: Config, taken: int) -> None:
    assert_told(call("run", "-c", config(f"[server]\nport = {taken}\n")), FAILED, str(taken), "server.port")
    assert_told(call("demo", "--port", taken, "--no-wait"), FAILED, str(taken))


@pytest.mark.usefixtures("own_port")
def test_a_ledger_that_is_no_database(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database" * 100)
    path = config('[database]\nledger = "ledger.db"\n')

    assert_told(call("run", "-c", path), FAILED, "ledger.db", "not a ledger database")
    assert_told(call("db", "current", "-c", path), FAILED, "ledger.db")


def test_a_video_that_cannot_be_read(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")

    assert_told(call("analyze", tmp_path / "text.mp4", "-c", config()), FAILED, "text.mp4")


def test_a_video_that_is_not_there(call: Call, config: Config) -> None:
    assert_told(call("analyze", "gone.mp4", "-c", config()), MISUSED, "gone.mp4", "orwatch analyze --help")


def test_two_videos_of_one_name(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "left.mp4").write_bytes((clips / "left.mp4").read_bytes())

    assert_told(call("analyze", clips / "left.mp4", tmp_path / "left.mp4", "-c", config()), MISUSED, "same name")


def test_a_folder_that_cannot_be_written(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert_told(call("analyze", clips / "left.mp4", "-c", config(), "--out", tmp_path / "file" / "x"), FAILED, "file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recordings: {gone.mp4: {camera: a}}", ("gone.mp4",)),
        ("recordings: {}", ("recordings",)),
        ("recordings: {left.mp4: {camera: a, itmes: []}}", ("itmes",)),
        ("recordings: {left.mp4: {camera: a, items: [{label: 沙布, from_s: 1, to_s: 2}]}}", ("沙布", "纱布")),
        ("{", ("not valid YAML",)),
    ],
)
def test_a_wrong_truth_file(call: Call, config: Config, clips: Path, text: str, words: tuple[str, ...]) -> None:
    truth = clips / "wrong.yaml"
    truth.write_text(text, encoding="utf-8")

    assert_told(call("evaluate", "--truth", truth, "-c", config()), MISUSED, "wrong.yaml", *words)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("watch", "12345"), MISUSED, ("six digits", "12345")),
        (("watch", "123456", "--url", "localhost"), MISUSED, ("http://",)),
        (("watch", "123456", "--url", "http://127.0.0.1:9"), FAILED, ("127.0.0.1:9", "orwatch run")),
        (("analyze",), MISUSED, ("Missing argument",)),
        (("analyze", __file__, "--started-at", "soon"), MISUSED, ("--started-at", "soon")),
        (("run", "--prot", "1"), MISUSED, ("--prot",)),
        (("ran",), MISUSED, ("ran",)),
        (("--verison",), MISUSED, ("--verison",)),
        (("cameras", "probe", "or-cam-09"), MISUSED, ("or-cam-09",)),
        (("cameras", "probe", "rtsp://ops:12#34@cam.example/1"), MISUSED, ("rtsp://***@cam.example/1", "%23")),
        (("cameras", "list"), FAILED, ("no camera is configured",)),
    ],
)
def test_a_wrong_command_line(call: Call, arguments: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    assert_told(call(*arguments), code, *words)


def test_a_key_file_without_a_key(call: Call, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("two words\n")

    assert_told(call("watch", "123456", "--key-file", tmp_path / "key"), FAILED, "holds no API key")


def test_a_port_where_something_else_answers(call: Call, taken: int) -> None:
    done = call("cameras", "probe", f"rtsp://ops:secret@127.0.0.1:{taken}/1", "--timeout", "1")

    assert done.code == FAILED
    assert "no picture" in done.out
    assert "secret" not in done.out + done.err


def test_a_password_is_never_shown(call: Call, config: Config) -> None:
    path = config('[cameras.a]\nurl = "rtsp://ops:secret@127.0.0.1:9/1?token=hidden"\n')

    for command in (("cameras", "list"), ("cameras", "probe"), ("check", "--connect")):
        done = call(*command, "-c", path)
        assert "127.0.0.1" in done.out
        assert [word for word in ("secret", "hidden") if word in done.out + done.err] == []


def test_a_clip_without_a_picture(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    whole = (clips / "left.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])

    assert_told(call("analyze", tmp_path / "half.mp4", "-c", config()), FAILED, "half.mp4")


def test_a_long_gop_and_many_lines_are_named(call: Call, tmp_path: Path) -> None:
    import numpy as np

    from daemon.cli.probing import Wanted, advice
    from streams.probe import probe

    clip = encode(tmp_path / "long.mp4", [np.zeros((1080, 1920), np.uint8)] * 9, fps=2, group=8)
    info = probe(str(clip), transport="tcp", trust=rules.trust(), timeout_s=10)
    live = Wanted(name="a", url="rtsp://h/1", transport="tcp", trust=rules.trust(), detects=True)

    told = " ".join(advice(live, info))

    assert "interval to 1 s" in told
    assert "detect_url" in told
    assert advice(replace(live, detects=False), info) == []


def test_a_rate_that_is_not_the_one_said_and_colours_that_are_not_said_are_named(tmp_path: Path) -> None:
    import numpy as np

    from daemon.cli.probing import Wanted, advice, summary
    from streams.probe import probe

    clip = encode(tmp_path / "small.mp4", [np.zeros((96, 160), np.uint8)] * 50)
    info = probe(str(clip), transport="tcp", trust=rules.trust(), timeout_s=10)
    live = Wanted(name="a", url="rtsp://h/1", transport="tcp", trust=rules.trust(), detects=True)
    forced = replace(live, color_matrix="bt709", color_range="full")

    slow = " ".join(advice(live, replace(info, fps=10.0, pace=2.5)))
    lost = " ".join(advice(live, replace(info, stamps_believed=False)))

    assert advice(live, info) == []
    assert "10 pictures come in a second; it says 25, and its stamps count 25" in slow
    assert "pictures count as taken when they arrive" in lost
    assert "colours bt601 (the stream says nothing), limited (the stream says nothing)" in summary(live, info)
    assert "bt709 as configured (the stream says nothing), full as configured" in summary(forced, info)
    assert "colours bt709, full" in summary(live, replace(info, color_matrix="bt709", color_range="full"))
