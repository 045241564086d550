"""`orwatch pathology` against a back end and a COS on loopback: one line for each step, and nothing secret anywhere."""

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import stamina
import typer

from daemon.cli.pathology.step_status import Outcome, Status, Step, Teller, status_line
from tests.cli.conftest import Done
from tests.servers import pathology as far
from tests.servers.cos import CosServer
from tests.servers.pathology import PASSWORD, USERNAME, Fault, PathologyServer
from tests.slides import write_slide
from tests.waiting import DEADLINE_S

LINE = re.compile(r"STEP_STATUS\|step=([1-6])\|name=([a-z_]+)\|status=(success|error|pending|skipped)\|message=([^|]+)")
NAMES = {
    1: "login_auth",
    2: "get_cos_credentials",
    3: "upload_wsi_to_cos",
    4: "create_wsi_file_record",
    5: "create_wsi_record",
    6: "get_ai_diagnosis_result",
}
FILES = ["cos_credentials.json", "cos_upload_result.json", "token_store.json", "wsi_record_result.json"]


@dataclass(frozen=True, slots=True)
class Said:
    """code: of the exit. steps: (number, status) of each line. message: of the last."""

    code: int
    steps: list[tuple[int, str]]
    message: str
    err: str


@dataclass(slots=True)
class World:
    """A hospital with a slide, the back end and its COS."""

    server: PathologyServer
    cos: CosServer
    folder: Path
    slide: Path
    call: Callable[..., Done]
    config: Path

    def do(self, *arguments: object) -> Said:
        """Every line of standard output is a status line, and no secret is in any output."""
        done = self.call("pathology", *arguments, "-c", self.config)
        assert self.leaks(done.out + done.err) == []
        return said(done)

    def leaks(self, text: str) -> list[str]:
        """Half a secret is one, too."""
        known = self.server.secrets | {each.session_token for each in self.cos.tokens.values()}
        return [secret for secret in known if secret[: len(secret) // 2] in text]

    def all_before(self, step: int) -> None:
        """The files that this step needs."""
        for command in ALONE[: step - 1]:
            assert self.do(*self.alone(command)).code == 0, command

    def without(self, *keys: str) -> None:
        """Takes keys out of the configuration."""
        lines = self.config.read_text(encoding="utf-8").splitlines()
        self.config.write_text("\n".join(each for each in lines if each.split()[0] not in keys), encoding="utf-8")

    def leave_files(self) -> None:
        """As after five steps, without the steps; the COS is not looked at."""
        self.server.tokens.add("kept-token")
        self.server.records[9000] = {}
        self.server.cos, self.server.needs_callback = None, False
        data = self.folder / "scripts" / "data"
        data.mkdir(parents=True)
        md5 = "0" * 32
        for name, content in {
            "token_store.json": {"token": "kept-token", "expired_time": 4_000_000_000},
            "cos_upload_result.json": {
                "file_md5": md5,
                "filename": "a.svs",
                "cos_path": f"SLIDES/chunked_uploads/20260301/x/{md5}/a.svs",
                "size": 1,
            },
            "wsi_record_result.json": {"response": {"id": 9000}},
        }.items():
            (data / name).write_text(json.dumps(content), encoding="utf-8")

    def alone(self, command: str) -> tuple[object, ...]:
        return (
            command,
            *{
                "upload": ("--local-file", self.slide, "--organization", "市医院", "--date", "20260301"),
                "register": ("--disease", "14"),
                "create": ("--disease", "14"),
                "result": ("--no-wait",),
            }.get(command, ()),
        )


ALONE = ["login", "credentials", "upload", "register", "create", "result"]


def said(done: Done) -> Said:
    lines = [LINE.fullmatch(line) for line in done.out.splitlines()]
    assert lines, done
    assert all(lines), done.out
    parts = [(int(line[1]), line[2], line[3], line[4]) for line in lines if line]
    assert all(NAMES[number] == name for number, name, _, _ in parts)
    assert len({number for number, *_ in parts}) == len(parts), "one line for each step"
    return Said(done.code, [(number, status) for number, _, status, _ in parts], parts[-1][3], done.err)


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "胃窦 1.tif", side=1024, grain=1)


@pytest.fixture
def world(call: Callable[..., Done], tmp_path: Path, slide_file: Path) -> Iterator[World]:
    with CosServer(tmp_path / "cos") as cos, PathologyServer(cos) as server, stamina.set_testing(True, attempts=3):
        server.needs_callback = True
        config = tmp_path / "orwatch.toml"
        settings = {
            "base_url": server.url,
            "username": USERNAME,
            "password": PASSWORD,
            "organization": "市医院",
            "cos_endpoint": f"127.0.0.1:{cos.port}",
            "cos_secure": False,
            "cos_bucket": cos.bucket,
            "cos_region": cos.region,
            "part_size_mib": 1,
            "timeout_s": 20,
        }
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
        config.write_text("\n".join(["[imaging.pathology]", *lines, ""]), encoding="utf-8")
        yield World(server, cos, tmp_path, slide_file, call, config)


# --- all six ---


def test_a_slide_goes_all_the_way_and_the_second_keeps_token_and_credentials(world: World) -> None:
    first = world.do("run", world.slide, "--disease", "14", "--no-wait", "--date", "20260301")

    assert (first.code, first.steps) == (0, [(number, "success") for number in NAMES])
    assert first.message == "慢性炎/症， 未见肿瘤"
    md5 = hashlib.md5(world.slide.read_bytes()).hexdigest()
    path = f"chunked_uploads/20260301/市医院/{md5}/{world.slide.name}"
    [(key, held)] = world.cos.objects.items()
    assert key == f"SLIDES/{path}"
    assert held.read_bytes() == world.slide.read_bytes()
    sent = {"filename": world.slide.name, "total_md5": md5, "disease": 14}
    assert world.server.seen.sent["callback"] == [{**sent, "path": path, "size": world.slide.stat().st_size}]
    assert world.server.seen.sent["create"] == [{**sent, "source": 3696, "is_run": True}]

    again = world.do("run", world.slide, "--disease", "6", "--no-wait", "--source", "5", "--no-is-run")

    assert (again.code, [status for _, status in again.steps]) == (0, ["skipped"] * 2 + ["success"] * 4)
    assert world.server.seen.calls["login"] == world.server.seen.calls["credentials"] == 1
    assert world.server.seen.sent["create"][-1] == {**sent, "disease": 6, "source": 5, "is_run": False}


def test_secrets_lie_in_private_files_only(world: World) -> None:
    world.do("run", world.slide, "--disease", "14", "--no-wait")

    data = world.folder / "scripts" / "data"
    assert sorted(path.name for path in data.iterdir()) == FILES
    for path in data.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        is_secret = path.name in ("token_store.json", "cos_credentials.json")
        assert bool(world.leaks(path.read_text(encoding="utf-8"))) == is_secret, path
    token, upload, record = (json.loads((data / FILES[index]).read_bytes()) for index in (2, 1, 3))
    assert {"token", "expired_time", "response"} <= set(token)
    assert {"file_md5", "filename", "cos_path"} <= set(upload)
    assert record["response"]["id"] in world.server.records


def test_a_run_whose_result_is_not_there_yet_ends_as_pending(world: World) -> None:
    world.server.statuses.appendleft(3)
    done = world.do("run", world.slide, "--disease", "14", "--wait-seconds", "0.01", "--data-dir", "kept")

    assert (done.code, done.steps[-1], len(done.steps)) == (3, (6, "pending"), 6)
    assert "1 分钟后再试" in done.message
    later = world.do(
        "result",
        "--no-wait",
        "--wsi-record-file",
        "kept/wsi_record_result.json",
        "--token-file",
        "kept/token_store.json",
    )
    assert (later.code, later.steps) == (0, [(6, "success")])
    assert "病理医师" in later.err


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6])
def test_a_run_stops_at_the_step_that_fails(world: World, step: int) -> None:
    route = ["login", "credentials", "", "callback", "create", "list"][step - 1]
    world.server.next(route, far.REFUSED_INSIDE)
    done = world.do("run", world.slide, "--disease", "14", "--no-wait")

    assert (done.code, done.steps[-1], len(done.steps)) == (1, (step, "error"), step)
    assert "机构不存在" in done.message


# --- each step alone ---


def test_each_step_runs_alone_from_the_files_of_those_before(world: World) -> None:
    for number, command in enumerate(ALONE, start=1):
        done = world.do(*world.alone(command))
        assert (done.code, done.steps) == (0, [(number, "success")]), command
    for number, command in enumerate(ALONE[:2], start=1):
        assert world.do(command).steps == [(number, "skipped")]


def test_files_and_addresses_of_the_command_line_come_first(world: World) -> None:
    world.without("base_url")
    token, keys, sent, record = (f"other/{name}.json" for name in ("token", "keys", "sent", "record"))
    urls = {route: f"{world.server.url}{path}" for path, route in far.ROUTES.items()}
    calls: list[tuple[object, ...]] = [
        ("login", "--login-url", urls["login"], "--token-file", token),
        ("credentials", "--credentials-url", urls["credentials"], "--token-file", token, "--output-file", keys),
        (*world.alone("upload"), "--credentials-file", keys, "--output-file", sent),
        (
            *world.alone("register"),
            "--callback-url",
            urls["callback"],
            "--token-file",
            token,
            "--upload-result-file",
            sent,
        ),
        (
            *world.alone("create"),
            "--create-url",
            urls["create"],
            "--token-file",
            token,
            "--upload-result-file",
            sent,
            "--output-file",
            record,
        ),
        (*world.alone("result"), "--list-url", urls["list"], "--token-file", token, "--wsi-record-file", record),
        ("result", "--no-wait", "--list-url", urls["list"] + "?id=", "--token-file", token, "--slide-id", "9000"),
    ]
    for arguments in calls:
        assert world.do(*arguments).code == 0, arguments
    assert not (world.folder / "scripts").exists()


@pytest.mark.parametrize(
    ("step", "made_by"), [(2, "第一步"), (3, "第二步"), (4, "第三步"), (5, "第三步"), (6, "第五步")]
)
def test_a_step_without_the_files_before_it_says_which_step_makes_them(world: World, step: int, made_by: str) -> None:
    done = world.do(*world.alone(ALONE[step - 1]))

    assert (done.code, done.steps) == (1, [(step, "error")])
    assert f"请先运行{made_by}" in done.message


def test_a_broken_token_file_leads_to_a_new_login(world: World) -> None:
    path = world.folder / "scripts" / "data" / "token_store.json"
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")

    assert world.do("credentials").code == 1
    assert world.do("login").steps == [(1, "success")]


@pytest.mark.parametrize(("step", "name"), [(1, "token_store.json"), (2, "cos_credentials.json")])
def test_what_has_expired_is_not_used_again(world: World, step: int, name: str) -> None:
    world.all_before(3)
    path = world.folder / "scripts" / "data" / name
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "expired_time": 1_700_000_000}), encoding="utf-8")

    assert world.do(ALONE[step - 1]).steps == [(step, "success")]


# --- results ---


@pytest.mark.parametrize(
    ("status", "code", "how", "words"),
    [
        (0, 1, "error", "未知（状态 0）"),
        (1, 3, "pending", "排队中（状态 1），请 1 分钟后再试"),
        (2, 3, "pending", "队列中（状态 2），请 1 分钟后再试"),
        (3, 3, "pending", "分析中（状态 3），请 1 分钟后再试"),
        (4, 0, "success", "慢性炎/症"),
        (5, 1, "error", "分析失败"),
        (9, 1, "error", "未知（状态 9）"),
        ("|\n", 1, "error", "未知"),
    ],
)
def test_each_status_of_a_diagnosis_has_its_line_and_exit_code(
    world: World, status: object, code: int, how: str, words: str
) -> None:
    world.leave_files()
    world.server.statuses = far.deque([status])
    done = world.do("result", "--no-wait")

    assert (done.code, done.steps) == (code, [(6, how)])
    assert words in done.message
    assert world.server.seen.calls["list"] == 1


def test_the_diagnosis_of_another_slide_is_never_shown(world: World) -> None:
    world.leave_files()
    done = world.do("result", "--no-wait", "--slide-id", "9001")

    assert (done.code, done.steps) == (1, [(6, "error")])
    assert "没有编号为 9001" in done.message


# --- a token that no longer serves ---


@pytest.mark.parametrize("step", [2, 4, 5, 6])
def test_a_401_logs_in_again_once_and_goes_on(world: World, step: int) -> None:
    world.leave_files()
    world.server.expire()
    done = world.do(*world.alone(ALONE[step - 1]))

    assert (done.code, done.steps) == (0, [(step, "success")])
    assert world.server.seen.calls["login"] == 1
    assert world.do("login").steps == [(1, "skipped")], "the new token was kept"


@pytest.mark.parametrize("fault", [far.UNAUTHORIZED, far.UNAUTHORIZED_INSIDE])
def test_a_second_401_is_an_error(world: World, fault: Fault) -> None:
    world.leave_files()
    world.server.next("create", fault, fault)
    done = world.do(*world.alone("create"))

    assert (done.code, done.steps) == (1, [(5, "error")])
    assert (world.server.seen.calls["login"], world.server.seen.calls["create"]) == (1, 2)


def test_keys_that_expire_in_the_middle_of_an_upload_are_fetched_anew(world: World) -> None:
    world.all_before(3)
    world.cos.on_part = lambda number: world.cos.expire() if number == 1 else None
    world.server.expire()
    done = world.do(*world.alone("upload"))

    assert (done.code, done.steps) == (0, [(3, "success")])
    # Once before, once with the token that has ended, once with the new one.
    assert (world.server.seen.calls["credentials"], world.server.seen.calls["login"]) == (3, 2)
    assert [path.read_bytes() == world.slide.read_bytes() for path in world.cos.objects.values()] == [True]
    assert world.do("credentials").steps == [(2, "skipped")], "the new keys were kept"


# --- what goes wrong ---


@pytest.mark.parametrize(
    "fault", ["HTML", "EMPTY", "HALF_JSON", "NO_OBJECT", "RESET", "REFUSED_INSIDE", "UNSUCCESSFUL"]
)
@pytest.mark.parametrize("step", [1, 2, 4, 5, 6])
def test_every_fault_of_every_route_is_one_line_and_exit_code_1(world: World, step: int, fault: str) -> None:
    route = {1: "login", 2: "credentials", 4: "callback", 5: "create", 6: "list"}[step]
    if step == 1:
        arguments: tuple[object, ...] = ("login",)
    else:
        world.leave_files()
        arguments = world.alone(ALONE[step - 1])
    world.server.next(route, *[getattr(far, fault)] * 3)
    done = world.do(*arguments)

    assert (done.code, done.steps) == (1, [(step, "error")])
    assert "病理平台" in done.message


def test_a_refused_upload_is_an_error_and_leaves_no_result(world: World) -> None:
    world.all_before(3)
    world.cos.forbidden = {"initiate", "put", "part"}
    done = world.do(*world.alone("upload"))

    assert (done.code, done.steps) == (1, [(3, "error")])
    assert not (world.folder / "scripts" / "data" / "cos_upload_result.json").exists()


def test_a_record_that_cannot_be_kept_is_told_by_its_number(world: World) -> None:
    world.leave_files()
    done = world.do(*world.alone("create"), "--output-file", world.config / "record.json")

    assert (done.code, done.steps) == (1, [(5, "error")])
    [slide_id] = set(world.server.records) - {9000}
    assert f"编号 {slide_id}" in done.message


def test_a_slide_that_cannot_be_sent_costs_no_call(world: World) -> None:
    cut = world.folder / "cut.tif"
    cut.write_bytes(world.slide.read_bytes()[:-5000])
    done = world.do("run", cut, "--disease", "14")

    assert (done.code, done.steps) == (1, [(3, "error")])
    assert "不完整" in done.message
    assert sum(world.server.seen.calls.values()) == 0


def test_nobody_there_is_an_error(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = world.do("login", "--login-url", f"http://127.0.0.1:{port}/")

    assert (done.code, done.steps) == (1, [(1, "error")])
    assert "无法连接病理平台" in done.message


@pytest.mark.parametrize(("missing", "code"), [(("username", "password"), 1), (("username",), 2), (("password",), 2)])
def test_without_name_or_password_both_variables_are_named(world: World, missing: tuple[str, ...], code: int) -> None:
    world.without(*missing)
    done = world.do("login")

    assert (done.code, done.steps) == (code, [(1, "error")])
    assert "PATHOLOGY_USERNAME" in done.message
    assert "PATHOLOGY_PASSWORD" in done.message


def test_a_wrong_password_is_an_error(world: World) -> None:
    text = world.config.read_text(encoding="utf-8")
    world.config.write_text(text.replace(PASSWORD, "something-else"), encoding="utf-8")
    done = world.do("login")

    assert (done.code, done.steps) == (1, [(1, "error")])
    assert "用户名或密码" in done.message
    assert "something-else" not in done.message + done.err
    assert not (world.folder / "scripts").exists()


def test_without_an_address_the_keys_are_named(world: World) -> None:
    world.without("base_url")
    done = world.do("login")

    assert (done.code, done.steps) == (1, [(1, "error")])
    assert "imaging.pathology.login_url" in done.message


MISUSES: dict[str, tuple[int, tuple[object, ...]]] = {
    "an unknown disease": (4, ("register", "--disease", "7")),
    "an unknown disease of a record": (5, ("create", "--disease", "|")),
    "an unknown disease of a run": (4, ("run", "a.svs", "--disease", "7")),
    "no disease": (4, ("register",)),
    "no disease of a record": (5, ("create",)),
    "no disease of a run": (4, ("run", "a.svs")),
    "no file": (3, ("upload",)),
    "a day that is none": (3, ("upload", "--local-file", "a.svs", "--date", "20260230")),
    "an organization that is none": (3, ("upload", "--local-file", "a.svs", "--organization", "a/b")),
    "an address that is none": (1, ("login", "--login-url", "ftp://x/")),
    "an address that is not private": (1, ("login", "--login-url", "http://slides.example/")),
    "an id that is none": (6, ("result", "--no-wait", "--slide-id", "../1")),
}


@pytest.mark.parametrize("case", MISUSES)
def test_a_wrong_command_line_is_exit_code_2_and_costs_no_call(world: World, case: str) -> None:
    step, arguments = MISUSES[case]
    done = world.do(*arguments)

    assert (done.code, done.steps) == (2, [(step, "error")])
    assert sum(world.server.seen.calls.values()) == 0


def test_a_wrong_configuration_is_exit_code_2(world: World) -> None:
    world.config.write_text("[imaging.pathology]\nauth_scheme = 5\n", encoding="utf-8")
    done = world.do("credentials")

    assert (done.code, done.steps) == (2, [(2, "error")])
    assert "imaging.pathology.auth_scheme" in done.message


# --- the line itself ---


def test_a_message_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = status_line(Step.RESULT, Outcome(Status.SUCCESS, "a|b\r\nc\u2028d\x1b[31m\udc80\te"))

    assert line == "STEP_STATUS|step=6|name=get_ai_diagnosis_result|status=success|message=a/b c d [31m e"


def test_a_bug_leaves_a_line_without_its_words_and_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Teller(Step.CREATE):
        raise ZeroDivisionError("with a secret")
    out = capsys.readouterr().out

    assert out == "STEP_STATUS|step=5|name=create_wsi_record|status=error|message=内部错误（ZeroDivisionError）。\n"


def test_a_step_that_was_told_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, Teller(Step.RESULT) as teller:
        teller.say(Outcome(Status.PENDING, "x"))

    assert caught.value.exit_code == 3
    assert capsys.readouterr().out.count("STEP_STATUS") == 1


# --- the real program ---


def program(world: World, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", "pathology", *map(str, arguments), "-c", str(world.config)],
        cwd=world.folder,
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_name_and_password_come_from_the_environment(world: World) -> None:
    world.without("username", "password")
    with program(world, "login", PATHOLOGY_USERNAME=USERNAME, PATHOLOGY_PASSWORD=PASSWORD) as started:
        out, err = started.communicate(timeout=DEADLINE_S)

    assert said(Done(started.returncode, out, err)).steps == [(1, "success")]
    assert err == ""
    assert world.leaks(out) == []


def test_ctrl_c_in_an_upload_ends_it_and_the_next_run_goes_on(world: World) -> None:
    world.all_before(3)
    stored = threading.Event()
    world.cos.holds_after = 1
    world.cos.on_part = lambda number: stored.set()
    with program(world, *world.alone("upload")) as started:
        try:
            assert stored.wait(DEADLINE_S)
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=DEADLINE_S)
        finally:
            started.kill()

    stopped = said(Done(started.returncode, out, err))
    assert (stopped.code, stopped.steps) == (130, [(3, "error")]), err
    assert "中断" in stopped.message
    assert "Traceback" not in err
    assert world.leaks(out + err) == []
    assert not world.cos.objects

    world.cos.holds_after = None
    again = world.do(*world.alone("upload"))
    assert (again.code, again.steps) == (0, [(3, "success")])
    assert "沿用已传 1 块" in again.message
