"""`orwatch fundus` from pictures to the report, with a back end that answers, waits, refuses and breaks off."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.fundus.terms import STATES
from tests.cli.conftest import Done
from tests.servers import fundus as far
from tests.servers.fundus import APP_ID, APP_ID_45, TOKEN, TOKEN_45, Fault, FundusServer
from tests.servers.fundus_answers import answer_45, packed, ultra_wide_answer
from tests.waiting import DEADLINE_S

Call = Callable[..., Done]
MASK = packed([[[10, 10], [40, 10], [40, 40], [10, 40]]])


@pytest.fixture
def server() -> Iterator[FundusServer]:
    with FundusServer(ultra_wide_answer(right={"VKH": "1"}, right_detail={"hemohedgeMask": MASK})) as running:
        yield running


@pytest.fixture
def config(server: FundusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    for name in ("FUNDUS_APPID", "FUNDUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def write(**changes: object) -> Path:
        keys = {
            "base_url": server.url,
            "app_id": APP_ID,
            "token": TOKEN,
            "app_id_45": APP_ID_45,
            "token_45": TOKEN_45,
            "poll_interval_s": 0.01,
            "polls_max": 5,
        } | changes
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
        path = tmp_path / "orwatch.toml"
        path.write_text("[imaging.fundus]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "p1_OD.jpg", colour: int = 60, size: int | None = None) -> Path:
        path = tmp_path / name
        path.write_bytes(cv2.imencode(path.suffix, np.full((100, 120, 3), colour, np.uint8))[1].tobytes())
        if size:
            with path.open("ab") as file:
                file.truncate(size)
        return path

    return make


def study_of(done: Done) -> str:
    found = re.search(r"检查号 (\S+)：", done.err)
    assert found, done.err
    return found[1]


def test_one_picture_gives_its_report_on_stdout(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    server.next("query", *[far.PROCESSING] * 3)
    done = call("fundus", "analyze", picture(), "-c", config())

    assert done.code == 0, done
    assert done.out.startswith("## 🔬 超广角眼底 AI 分析结果\n\n**图像**:p1_OD.jpg(右眼)\n\n**状态**:处理成功\n\n---\n")
    assert "| VKH | ✅ 阴性 | ⚠️ **阳性** | |" in done.out
    assert "等待" not in done.out
    assert done.err.count("等待分析：") == 3
    assert "建议 ≥ 2000×2000" in done.err
    assert study_of(done) in server.studies
    assert server.refusals == []


def test_three_pictures_and_a_folder_for_all_that_came(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer, tmp_path: Path
) -> None:
    paths = [picture("a_L.jpg", 10), picture("b_R.png", 20), picture("c.jpg", 30)]
    out = tmp_path / "out"
    options = ("--eye", "left", "--eye", "right", "--eye", "left", "--out", out, "-c", config())
    done = call("fundus", "analyze", *paths, *options, "--patient-id", "p7", "--birthday", "1980-01-02")

    assert done.code == 0, done
    kept = server.studies[study_of(done)]
    assert [image.eye for image in kept.images] == ["1", "2", "1"]
    assert (kept.fields["patientId"], kept.fields["patientBirthday"]) == ("p7", "1980-01-02")
    assert (out / "report.md").read_text(encoding="utf-8") == done.out
    assert json.loads((out / "answer.json").read_text(encoding="utf-8")) == server.answer
    assert [path.name for path in sorted(out.glob("overlay*"))] == ["overlay_2.jpg"]
    drawn = cv2.imread(str(out / "overlay_2.jpg"))
    assert drawn[25, 25, 0] > 100, "cyan over the dark"
    assert drawn[60, 60, 0] < 70
    assert "a_L.jpg：左眼可能不止一张图像" in done.err


def test_a_single_picture_of_an_unknown_eye_gets_the_marks_of_the_eye_that_has_any(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], tmp_path: Path
) -> None:
    done = call("fundus", "analyze", picture("x.jpg"), "-o", tmp_path / "out", "-c", config())
    assert done.code == 0, done
    assert "可用 --eye 指定" in done.err
    assert (tmp_path / "out" / "overlay_1.jpg").exists()


def test_a_large_picture_goes_as_a_file_with_its_camera(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    options = ("--camera", "optos", "--gender", "female", "--no-report-pdf", "-c", config())
    done = call("fundus", "analyze", picture(size=6 * 2**20), *options)

    assert done.code == 0, done
    kept = server.studies[study_of(done)]
    assert (kept.way, kept.fields["cameraType"], kept.fields["patientGender"]) == ("file", "1", "2")
    assert server.queries[0]["needReport"] == 0


def test_a_camera_that_is_not_sent_is_told(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    assert "这次不发送" in call("fundus", "analyze", picture(), "--camera", "zeiss", "-c", config()).err


def test_45_degrees_are_asked_with_their_own_credential(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    server.answer = answer_45([{"status": 200, "eyeCategory": 1, "aiResult": "疑似青光眼"}], None)
    done = call("fundus", "analyze", picture(), "--ai-type", "1", "-c", config())

    assert done.code == 0, done
    assert "| 右眼 | 疑似青光眼 |" in done.out
    assert server.studies[study_of(done)].app_id == APP_ID_45
    assert "2000" not in done.err


def test_what_is_still_processing_can_be_asked_for_later(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer, tmp_path: Path
) -> None:
    path, toml = picture(), config()
    server.next("query", *[far.PROCESSING] * 6)
    done = call("fundus", "analyze", path, "-c", toml)
    assert (done.code, done.out) == (3, "")
    study_id = study_of(done)
    assert f"orwatch fundus result {study_id} --ai-type 12" in done.err

    assert call("fundus", "result", study_id, "-c", toml).code == 3
    later = call("fundus", "result", study_id, path, "--out", tmp_path / "out", "-c", toml)
    assert later.code == 0, later
    assert "**图像**:p1_OD.jpg(右眼)" in later.out
    assert (tmp_path / "out" / "overlay_1.jpg").exists()
    server.next("query", *[far.PROCESSING] * 3)
    assert call("fundus", "result", study_id, "--wait", "-c", toml).code == 0
    assert f"**图像**:检查号 {study_id}" in call("fundus", "result", study_id, "-c", toml).out


@pytest.mark.parametrize("status", [-2, -3, -4, 404])
def test_a_picture_that_cannot_be_judged_is_reported_and_fails(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer, status: int
) -> None:
    server.answer = ultra_wide_answer(status=status)
    done = call("fundus", "analyze", picture(), "-c", config())

    assert done.code == 1
    assert f"**状态**:{STATES[status]}" in done.out
    assert f"没有完整的分析结果：{STATES[status]}" in done.err
    assert server.calls["query"] == 1


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault(code=1), "参数错误"),
        (Fault(code=90001), "APP-TOKEN 无效"),
        (Fault(code=90002), "签名无效"),
        (Fault(code=90003), "超过获取次数上限"),
        (Fault(code=4711, message="别的原因"), "别的原因（code 4711）"),
        (Fault(code=90001, message="请联系 help@vendor.example 开通服务"), "此 APP-ID 未开通"),
        (Fault(status=403, body=b"{}"), "HTTP 403"),
    ],
)
def test_a_refused_upload_is_one_line_and_no_result_is_waited_for(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer, fault: Fault, what: str
) -> None:
    server.next("upload", fault)
    done = call("fundus", "analyze", picture(), "-c", config())

    assert (done.code, done.out) == (1, "")
    [line] = [line for line in done.err.splitlines() if line.startswith("orwatch: ")]
    assert what in line
    assert server.calls["query"] == 0


def test_an_upload_that_broke_off_after_it_arrived_goes_on(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    server.next("upload", Fault(how="reset", is_kept=True))
    done = call("fundus", "analyze", picture(), "-c", config())

    assert done.code == 0, done
    assert "正在查询是否已送达" in done.err
    assert server.calls["upload"] == 1


def test_an_upload_that_never_arrived_says_that_it_may_be_repeated(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    server.next("upload", far.HALF_JSON)
    done = call("fundus", "analyze", picture(), "-c", config())

    assert (done.code, done.out) == (1, "")
    assert "已确认没有送达，可以再次提交" in done.err


def test_a_query_that_fails_tells_how_to_ask_again(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], server: FundusServer
) -> None:
    server.next("query", Fault(code=90003))
    done = call("fundus", "analyze", picture(), "-c", config())

    assert done.code == 1
    assert f"orwatch fundus result {study_of(done)} --ai-type 12" in done.err
    unknown = call("fundus", "result", "uw_unknown", "-c", config())
    assert unknown.code == 1
    assert "没有这个检查号的数据" in unknown.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("none.jpg",), "none.jpg 不存在"),
        (("empty.jpg",), "empty.jpg 是空文件"),
        (("p1_OD.jpg", "--eye", "left", "--eye", "right"), "给了 2 个，应为 1 个"),
        (("p1_OD.jpg", "--eye", "up"), "up"),
        (("p1_OD.jpg", "--ai-type", "7"), "7"),
        (("p1_OD.jpg", "--birthday", "1.2.80"), "1.2.80"),
        (("p1_OD.jpg", "--patient-id", ""), "patient_id"),
        (("p1_OD.jpg", "p1_OD.jpg", "--ai-type", "0"), "请逐张提交"),
        (("p1_OD.jpg", "--out", "taken"), "里已有 report.md"),
    ],
)
def test_what_was_misused_is_named_and_nothing_is_sent(
    call: Call,
    config: Callable[..., Path],
    picture: Callable[..., Path],
    server: FundusServer,
    tmp_path: Path,
    arguments: tuple[str, ...],
    what: str,
) -> None:
    picture()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "report.md").touch()
    done = call("fundus", "analyze", *arguments, "-c", config())

    assert (done.code, done.out) == (2, "")
    assert what in done.err
    assert server.calls == {"upload": 0, "file": 0, "query": 0}


def test_a_study_id_that_is_none_is_refused(call: Call, config: Callable[..., Path]) -> None:
    done = call("fundus", "result", "uw 1", "-c", config())
    assert done.code == 2
    assert "study_id" in done.err


@pytest.mark.parametrize("key", ["base_url", "app_id", "token"])
def test_what_is_not_configured_exits_with_2(
    call: Call, config: Callable[..., Path], picture: Callable[..., Path], key: str
) -> None:
    done = call("fundus", "analyze", picture(), "-c", config(**{key: None}))
    assert done.code == 2
    assert f"imaging.fundus.{key}" in done.err


def test_credentials_come_from_the_environment_too(
    config: Callable[..., Path], picture: Callable[..., Path], tmp_path: Path
) -> None:
    """The program itself: it reads the environment once, when it starts."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "fundus", "analyze", picture(), "-c", config(app_id=None, token=None)],
        env=os.environ | {"FUNDUS_APPID": APP_ID, "FUNDUS_TOKEN": TOKEN},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done
    assert "**状态**:处理成功" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
