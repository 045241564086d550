"""`orwatch speech`: what a nurse would hear, and what would be made of her answer."""

from collections.abc import Callable
from pathlib import Path

from speech import mp3
from tests.cli.conftest import Done
from tests.spoken import spoken

Call = Callable[..., Done]
Config = Callable[..., Path]


def recorded(folder: Path, text: str) -> Path:
    path = folder / "answer.wav"
    path.write_bytes(spoken(text, variant="f5", words_per_minute=160))
    return path


def test_a_text_is_spoken_into_a_file(call: Call, config: Config, tmp_path: Path) -> None:
    done = call("speech", "say", "请确认：是纱布吗？", "-c", config(), "--out", tmp_path / "q.mp3")

    assert done.code == 0, done
    assert done.out.startswith("espeak: ")
    assert mp3.is_mp3((tmp_path / "q.mp3").read_bytes())


def test_an_answer_is_heard_and_understood(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("code,name,aliases\nHC1,可吸收缝线,薇乔\nHC2,纱布,\n", encoding="utf-8")
    more = '[catalogue]\npath = "catalogue.csv"\n'

    done = call("speech", "hear", recorded(tmp_path, "第二个"), "--options", "薇乔，HC2", "-c", config(more))

    assert done.code == 0, done
    assert "heard by pocketsphinx" in done.out
    assert "chosen HC2" in done.out


def test_an_answer_that_settles_nothing_fails(call: Call, config: Config, tmp_path: Path) -> None:
    done = call("speech", "hear", recorded(tmp_path, "再说一遍"), "--options", "纱布,缝线", "-c", config())

    assert done.code == 1
    assert "unsure" in done.out


def test_what_is_no_answer_is_said_in_one_line(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"RIFF")

    done = call("speech", "hear", tmp_path / "no.wav", "--options", "纱布", "-c", config())

    assert done.code == 1
    assert "not_wav" in done.err
    assert "Traceback" not in done.err


def test_a_provider_that_is_not_configured_is_named(call: Call, config: Config, tmp_path: Path) -> None:
    done = call("speech", "say", "是", "-c", config(), "--provider", "baidu", "--out", tmp_path / "q.mp3")

    assert done.code == 2
    assert "baidu" in done.err
    assert not (tmp_path / "q.mp3").exists()


def test_check_sets_up_each_provider_and_uses_it_with_connect(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("code,name\nHC1,纱布\nHC2,沙布\nHC3,缝线\n", encoding="utf-8")
    more = '[catalogue]\npath = "catalogue.csv"\n[speech]\ntts = ["pack", "espeak"]\n[speech.pack]\nfolder = "pack"\n'

    done = call("check", "-c", config(more), "--connect")

    lines = {tuple(line.split()[:3]) for line in done.out.splitlines()}
    assert ("problem", "speech", "pack") in lines
    assert ("ok", "speech", "espeak") in lines
    assert ("ok", "speech", "pocketsphinx") in lines
    assert "s of sound" in done.out
    assert "纱布 / 沙布" in done.out.replace("\n", "") or "沙布 / 纱布" in done.out.replace("\n", "")
