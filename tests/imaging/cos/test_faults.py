"""Uploads over a wire on which everything goes wrong, and what of that may be seen: never a secret."""

import contextlib
import logging
import socket
import subprocess
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from imaging.cos.slide import CosCredentials
from imaging.errors import ImagingError, InputInvalid, Refused, Stopped, Unclear, Unreachable
from tests.servers.cos import CosServer
from tests.servers.cos_faults import (
    BROKEN,
    BUSY,
    ELSEWHERE,
    FLOOD,
    HALF,
    LIE,
    LOST,
    RESET,
    SPOIL,
    STALL,
    TRICKLE,
    Fault,
)
from tests.uploads import MIB, World, built
from tests.waiting import DEADLINE_S

PARTS = 3
# How long a call that is to be left may take; all others of the upload must come to their end within it.
LATE_S = 1.5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def world(server: CosServer, tmp_path: Path) -> World:
    return built(server, tmp_path, 2 * MIB + 99)


def patience(fault: Fault) -> float:
    """How long a call may take, so that it is left where the server would never answer."""
    return LATE_S if fault in (STALL, TRICKLE) else DEADLINE_S


@pytest.mark.parametrize("fault", [RESET, STALL, LOST, LIE, SPOIL, BROKEN, BUSY, TRICKLE])
def test_a_part_that_is_lost_is_sent_again_and_no_other(world: World, fault: Fault) -> None:
    world.server.next("part", fault)

    done = world.upload(rules=replace(world.rules, timeout_s=patience(fault)))

    assert (done.parts_sent, world.arrived()) == (PARTS, True)
    assert sorted(world.times_asked().values()) == [1] * (PARTS - 1) + [2]


@pytest.mark.parametrize("fault", [RESET, STALL, LOST, LIE, BROKEN, BUSY])
def test_a_small_file_is_sent_again(server: CosServer, tmp_path: Path, fault: Fault) -> None:
    world = built(server, tmp_path, 1000)
    server.next("put", fault)

    world.upload(rules=replace(world.rules, timeout_s=patience(fault)))

    assert world.arrived()


@pytest.mark.parametrize("fault", [RESET, STALL, LOST, HALF, BROKEN, BUSY, TRICKLE, FLOOD])
@pytest.mark.parametrize("action", ["initiate", "complete"])
def test_what_comes_before_and_after_the_parts_is_asked_again(world: World, action: str, fault: Fault) -> None:
    world.server.next(action, fault)

    world.upload(rules=replace(world.rules, timeout_s=patience(fault)))

    assert world.arrived()
    assert world.server.actions["part"] == PARTS


def test_the_wait_after_each_failed_attempt_is_the_callers(world: World) -> None:
    world.server.next("initiate", BROKEN, BUSY, RESET)
    attempts: list[int] = []

    def waits(count: int) -> float:
        attempts.append(count)
        return 0.0

    world.upload(wait_s=waits, rules=replace(world.rules, timeout_s=patience(RESET)))

    assert attempts == [1, 2, 3]
    assert world.arrived()


@pytest.mark.parametrize("fault", [RESET, STALL, BROKEN])
def test_looking_for_the_object_is_repeated(world: World, fault: Fault) -> None:
    world.server.next("head", fault)

    world.upload(rules=replace(world.rules, timeout_s=patience(fault)))

    assert world.arrived()


@pytest.mark.parametrize("fault", [RESET, HALF, BROKEN, FLOOD])
def test_the_list_of_parts_is_asked_for_again(world: World, fault: Fault) -> None:
    world.server.next("part", *[BROKEN] * 50)
    with pytest.raises(Unclear):
        world.upload(rules=replace(world.rules, attempts=1))
    world.server.faults.clear()
    world.server.next("list", fault)

    world.upload()

    assert world.arrived()
    assert world.server.actions["initiate"] == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (RESET, "连接中断"),
        (STALL, "超时"),
        (LIE, "ETag"),
        (BROKEN, "HTTP 500，InternalError"),
        (BUSY, "HTTP 503，SlowDown"),
        (Fault(status=503, code="<secret id='1'>" + "x" * 100), "HTTP 503"),
    ],
)
def test_a_part_that_never_arrives_ends_the_upload_which_can_be_resumed(world: World, fault: Fault, said: str) -> None:
    world.rules = replace(world.rules, timeout_s=patience(fault), attempts=3, threads=1)
    world.server.next("part", *[fault] * 3)

    with pytest.raises(Unclear, match=said):
        world.upload()
    assert world.server.actions["part"] == 3
    assert world.record.exists()

    world.upload()
    assert world.arrived()


def test_an_object_that_is_not_the_file_is_noticed_and_sent_again(world: World) -> None:
    world.server.next("complete", SPOIL)

    with pytest.raises(Unclear, match="核对失败"):
        world.upload()
    assert not world.arrived()

    world.upload()
    assert world.arrived()


def test_an_answer_without_end_is_not_read_to_its_end(world: World) -> None:
    world.server.next("initiate", FLOOD)

    with pytest.raises(Unclear, match="过长"):
        world.upload(rules=replace(world.rules, timeout_s=DEADLINE_S, attempts=1))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=404, code="NoSuchBucket"), "NoSuchBucket"),
        (Fault(status=400, code="InvalidArgument"), "InvalidArgument"),
        (Fault(status=409, code="PathConflict"), "PathConflict"),
        (ELSEWHERE, "301"),
    ],
)
@pytest.mark.parametrize("action", ["initiate", "part"])
def test_a_refusal_is_final(world: World, action: str, fault: Fault, code: str) -> None:
    world.server.next(action, fault)

    with pytest.raises(Refused) as caught:
        world.upload()
    assert caught.value.code == code
    assert not world.server.objects


def test_a_denial_of_new_credentials_is_final(world: World) -> None:
    denied = Fault(status=403, code="AccessDenied")
    world.server.next("initiate", denied, denied)

    with pytest.raises(Refused, match="AccessDenied"):
        world.upload()
    assert len(world.fetched) == 2
    assert world.server.actions["initiate"] == 2


def test_nobody_there_is_unreachable(world: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        rules = replace(world.rules, endpoint=f"127.0.0.1:{closed.getsockname()[1]}")

        with pytest.raises(Unreachable):
            world.upload(rules=rules)
    with pytest.raises(Unreachable):
        world.upload(rules=replace(world.rules, endpoint="nobody.invalid:80"))


def test_who_accepts_and_says_nothing_is_left(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        rules = replace(world.rules, endpoint=f"127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.2, attempts=2)

        with pytest.raises(Unclear, match="超时"):
            world.upload(rules=rules)


def test_a_stop_interrupts_a_server_that_stalls(world: World) -> None:
    world.rules = replace(world.rules, timeout_s=100.0)
    world.server.holds_after = 0
    world.server.next("part", STALL, STALL)

    def stop_when_stalled(done: int, total: int) -> None:
        world.stop.set()

    with pytest.raises(Stopped):
        world.upload(progress=stop_when_stalled)
    assert world.record.exists()


def test_no_proxy_of_the_environment_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")

    world.upload()

    assert world.arrived()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    paths = (folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def test_tls_is_verified(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    with CosServer(tmp_path / "cos", tls=certificate) as server:
        world = built(server, tmp_path, 4 * MIB)
        world.rules = replace(world.rules, endpoint=f"localhost:{server.port}", secure=True)

        with pytest.raises(Unreachable, match="证书"):
            world.upload()
        assert not server.actions

        server.next("part", RESET, STALL)
        world.upload(rules=replace(world.rules, ca_file=certificate[0], timeout_s=LATE_S))
        assert world.arrived()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bucket": "no bucket"}, "cos_bucket"),
        ({"bucket": ""}, "cos_bucket"),
        ({"region": "a/b"}, "cos_region"),
        ({"endpoint": "host:0"}, "cos_endpoint"),
        ({"endpoint": "host:70000"}, "cos_endpoint"),
        ({"endpoint": "user@host"}, "cos_endpoint"),
        ({"endpoint": "https://host"}, "cos_endpoint"),
        ({"ca_file": Path("none.pem")}, "ca_file"),
    ],
)
def test_rules_that_name_no_place_are_refused(world: World, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputInvalid, match=field) as caught:
        world.upload(rules=replace(world.rules, **changes))  # type: ignore[arg-type]

    assert caught.value.field == field
    assert not world.server.actions


TROUBLES: dict[str, tuple[str, Fault]] = {
    "nothing": ("abort", BROKEN),
    "reset": ("part", RESET),
    "stall": ("part", STALL),
    "denied": ("part", Fault(status=403, code="AccessDenied")),
    "refused": ("initiate", Fault(status=400, code="InvalidArgument")),
    "half": ("initiate", HALF),
    "nobody": ("abort", BROKEN),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_secret_gets_into_logs_or_errors(world: World, caplog: pytest.LogCaptureFixture, trouble: str) -> None:
    world.rules = replace(world.rules, timeout_s=patience(TROUBLES[trouble][1]), attempts=2)
    if trouble == "nobody":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            world.rules = replace(world.rules, endpoint=f"127.0.0.1:{closed.getsockname()[1]}")
    # All that are there already: the SDK has one per module.
    for name in ["", *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name)
    given: list[CosCredentials] = []

    def credentials() -> CosCredentials:
        given.append(world.credentials())
        return given[-1]

    action, fault = TROUBLES[trouble]
    world.server.next(action, *[fault] * 100)
    seen = ""
    with contextlib.suppress(ImagingError):
        try:
            world.upload(credentials=credentials)
        except ImagingError as error:
            seen += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
            raise
    assert bool(seen) == (trouble != "nothing")
    seen += caplog.text + repr(given) + str(given) + repr(world.rules)

    for token in world.server.tokens.values():
        for secret in (token.secret_id, token.secret_key, token.session_token):
            assert secret not in seen
    assert "q-sign" not in seen
    assert "uploadId" not in seen
    assert "http://" not in seen
    assert quote(world.key) not in seen
    assert "CosClientError" not in seen
    if trouble in ("reset", "stall", "half"):
        assert "COS request failed" in caplog.text
