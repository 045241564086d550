"""The pathology client against a server of its wire: what it sends, what it makes of an answer, what it asks again."""

import base64
import json
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina

from imaging.errors import (
    Failed,
    ImagingError,
    InputInvalid,
    NotConfigured,
    Refused,
    Unauthorized,
    Unclear,
    Unreachable,
)
from imaging.pathology.answers import (
    PATHS,
    TOKEN_LASTS,
    WORDS,
    Diagnosis,
    Status,
    Token,
    moment,
    record_id,
)
from imaging.pathology.client import ATTEMPTS, Pathology
from tests import rules
from tests.servers import pathology as far
from tests.servers.pathology import PASSWORD, USERNAME, Fault, PathologyServer
from tests.waiting import DEADLINE_S

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MD5 = "0123456789abcdef0123456789abcdef"
FILE = {"filename": "a.svs", "total_md5": MD5}
CALLBACK = {**FILE, "path": f"chunked_uploads/20260301/市医院/{MD5}/a.svs", "size": 9, "disease": "14"}
CREATE = {**FILE, "disease": "14", "source": 3696, "is_run": True}
NO_ANSWERS = {
    "html": far.HTML,
    "empty": far.EMPTY,
    "half": far.HALF_JSON,
    "no object": far.NO_OBJECT,
    "reset": far.RESET,
    "stall": far.STALL,
    "trickle": far.TRICKLE,
}


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture
def server() -> Iterator[PathologyServer]:
    with PathologyServer() as running:
        yield running


@pytest.fixture
async def client(server: PathologyServer) -> AsyncIterator[Pathology]:
    async with Pathology(rules.pathology(base_url=server.url, timeout_s=DEADLINE_S)) as made:
        yield made


async def logged_in(client: Pathology) -> str:
    return (await client.login(USERNAME, PASSWORD, NOW)).value


async def test_a_slide_goes_all_the_way(client: Pathology, server: PathologyServer) -> None:
    server.needs_callback = True
    token = await client.login(USERNAME, PASSWORD, NOW)
    credentials, raw = await client.credentials(token.value)
    await client.register(token.value, **CALLBACK)
    created = await client.create(token.value, **CREATE)
    found = await client.find(token.value, created.slide_id)

    assert credentials.secret_id == raw["data"]["tmpSecretId"]
    assert found.outcome() == far.DIAGNOSIS
    assert server.seen.sent["create"] == [
        {"filename": "a.svs", "total_md5": MD5, "disease": 14, "source": 3696, "is_run": True}
    ]
    assert server.seen.sent["callback"] == [{**CALLBACK, "disease": 14}]
    assert set(server.seen.authorizations) == {f"Bearer {token.value}"}
    assert server.seen.calls == {"login": 1, "credentials": 1, "callback": 1, "create": 1, "list": 1}


async def test_another_scheme_stands_before_the_token(server: PathologyServer) -> None:
    with PathologyServer(scheme="JWT") as other:
        async with Pathology(rules.pathology(base_url=other.url, auth_scheme="JWT")) as client:
            await client.credentials(await logged_in(client))
        assert other.seen.authorizations[0].startswith("JWT ")


async def test_a_wrong_password_is_said_once_and_not_asked_again(client: Pathology, server: PathologyServer) -> None:
    with pytest.raises(Unauthorized, match="用户名或密码"):
        await client.login(USERNAME, "another-secret", NOW)
    assert server.seen.calls["login"] == 1


@pytest.mark.parametrize("name", ["html", "empty", "half", "no object", "reset"])
@pytest.mark.parametrize("step", ["login", "credentials", "list"])
async def test_what_changes_nothing_is_asked_three_times(server: PathologyServer, step: str, name: str) -> None:
    async with Pathology(rules.pathology(base_url=server.url, timeout_s=DEADLINE_S)) as client:
        token = await logged_in(client)
        slide_id = (await client.create(token, **CREATE)).slide_id
        asked = {
            "login": lambda: client.login(USERNAME, PASSWORD, NOW),
            "credentials": lambda: client.credentials(token),
            "list": lambda: client.find(token, slide_id),
        }[step]
        before = server.seen.calls[step]
        server.next(step, *[NO_ANSWERS[name]] * (ATTEMPTS - 1))
        await asked()
        assert server.seen.calls[step] - before == ATTEMPTS
        server.next(step, *[NO_ANSWERS[name]] * ATTEMPTS)
        with pytest.raises(Unclear):
            await asked()
        assert server.seen.calls[step] - before == 2 * ATTEMPTS


async def test_asking_again_leaves_standard_output_to_the_status_lines(
    client: Pathology, server: PathologyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.next("login", far.HTML)
    await client.login(USERNAME, PASSWORD, NOW)

    assert server.seen.calls["login"] == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["stall", "trickle"])
async def test_an_answer_that_does_not_come_is_waited_for_until_a_deadline(server: PathologyServer, name: str) -> None:
    async with Pathology(rules.pathology(base_url=server.url, timeout_s=2)) as client:
        server.next("login", NO_ANSWERS[name])
        await client.login(USERNAME, PASSWORD, NOW)
    assert server.seen.calls["login"] == 2


@pytest.mark.parametrize("name", NO_ANSWERS)
@pytest.mark.parametrize("step", ["callback", "create"])
async def test_what_may_have_been_done_is_never_done_again(server: PathologyServer, step: str, name: str) -> None:
    async with Pathology(rules.pathology(base_url=server.url)) as patient:
        token = await logged_in(patient)
    timeout_s = 0.4 if name in ("stall", "trickle") else DEADLINE_S
    async with Pathology(rules.pathology(base_url=server.url, timeout_s=timeout_s)) as client:
        server.next(step, replace(NO_ANSWERS[name], acts=True))
        with pytest.raises(Unclear, match="可能已经创建"):
            await (client.create(token, **CREATE) if step == "create" else client.register(token, **CALLBACK))
    assert server.seen.calls[step] == 1
    assert len(server.records) + len(server.callbacks) == 1


@pytest.mark.parametrize(
    "fault", [far.REFUSED_INSIDE, far.UNSUCCESSFUL, Fault(status=403, body=b"{}"), Fault(status=404)]
)
@pytest.mark.parametrize("step", ["credentials", "callback", "create", "list"])
async def test_a_no_is_taken_as_one(client: Pathology, server: PathologyServer, step: str, fault: Fault) -> None:
    token = await logged_in(client)
    server.next(step, fault)
    with pytest.raises(Refused) as caught:
        await called(client, step, token)
    assert not isinstance(caught.value, Unauthorized)
    assert server.seen.calls[step] == 1
    if fault is far.REFUSED_INSIDE:
        assert (caught.value.code, "机构不存在" in caught.value.message) == ("4003", True)


@pytest.mark.parametrize("fault", [far.UNAUTHORIZED, far.UNAUTHORIZED_INSIDE])
@pytest.mark.parametrize("step", ["credentials", "callback", "create", "list"])
async def test_a_401_is_told_apart(client: Pathology, server: PathologyServer, step: str, fault: Fault) -> None:
    token = await logged_in(client)
    server.next(step, fault)
    with pytest.raises(Unauthorized):
        await called(client, step, token)
    assert server.seen.calls[step] == 1


async def called(client: Pathology, step: str, token: str) -> Any:
    match step:
        case "credentials":
            return await client.credentials(token)
        case "callback":
            return await client.register(token, **CALLBACK)
        case "create":
            return await client.create(token, **CREATE)
    return await client.find(token, "9000")


async def test_nobody_there_is_tried_three_times_even_to_create(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with caplog.at_level(logging.DEBUG, "httpcore.connection"):
        async with Pathology(rules.pathology(base_url=f"http://127.0.0.1:{port}")) as client:
            with pytest.raises(Unreachable):
                await client.create("t", **CREATE)
    assert sum("connect_tcp.started" in each.message for each in caplog.records) == 3


async def test_a_created_record_without_an_id_is_not_made_up(client: Pathology, server: PathologyServer) -> None:
    token = await logged_in(client)
    server.next("create", Fault(body=b'{"code": 0, "data": {}}', acts=True))
    with pytest.raises(Unclear, match="没有切片编号"):
        await client.create(token, **CREATE)
    assert server.seen.calls["create"] == 1


@pytest.mark.parametrize("code", [1, 2, 3, "1"])
async def test_while_it_is_analysed_there_is_no_outcome(client: Pathology, server: PathologyServer, code: Any) -> None:
    token = await logged_in(client)
    server.statuses = far.deque([code])
    found = await client.find(token, (await client.create(token, **CREATE)).slide_id)
    assert (found.status, found.outcome()) == (Status(int(code)), None)
    assert WORDS[found.status]


@pytest.mark.parametrize("code", [5, 0, 6, -1, None, "x", True, 4.0, [4]])
async def test_a_failed_or_unknown_status_is_an_error(client: Pathology, server: PathologyServer, code: Any) -> None:
    token = await logged_in(client)
    server.statuses = far.deque([code])
    found = await client.find(token, (await client.create(token, **CREATE)).slide_id)
    with pytest.raises(Failed, match="失败" if code == 5 else "未知") as caught:
        found.outcome()
    assert caught.value.code == str(code)


@pytest.mark.parametrize("value", [None, ""])
async def test_success_without_words_is_no_diagnosis(client: Pathology, server: PathologyServer, value: Any) -> None:
    token = await logged_in(client)
    server.value = value
    found = await client.find(token, (await client.create(token, **CREATE)).slide_id)
    with pytest.raises(Unclear):
        found.outcome()


def test_the_entry_is_found_in_every_known_shape_and_by_its_id_only() -> None:
    mine = {"id": "77", "ai_diagnosis_status": 4, "modified_ai_diagnosis_result_map": {"value": "mine"}}
    listed = [{"id": 7, "ai_diagnosis_status": 4}, None, mine]
    shapes: list[dict[str, Any]] = [
        {"results": listed},
        {"data": {"list": listed}},
        {"data": {"results": listed}},
        {"list": listed},
        {"data": listed},
        {"data": mine},
        mine,
    ]
    for body in shapes:
        assert Diagnosis.read(body, "77").outcome() == "mine"
        with pytest.raises(Refused, match="没有编号为 78"):
            Diagnosis.read(body, "78")
    for wrong in ({}, {"data": {}}, {"results": {"77": mine}}):
        with pytest.raises(Unclear):
            Diagnosis.read(wrong, "77")
    structured = {**mine, "modified_ai_diagnosis_result_map": {"value": ["甲", "乙"]}}
    assert Diagnosis.read({"results": [structured]}, "77").outcome() == '["甲", "乙"]'


def test_a_token_is_found_where_back_ends_put_it() -> None:
    for body in ({"data": {"token": "abc"}}, {"token": "abc"}, {"access": "abc"}, {"data": {"access": "abc"}}):
        token = Token.read(body, NOW)
        assert (token.value, token.expires_at) == ("abc", NOW + TOKEN_LASTS)
    for wrong in ({}, {"token": ""}, {"token": 5}, {"token": "a b"}, {"token": "a\nX: y"}, {"token": "令牌"}):
        with pytest.raises(Unclear):
            Token.read(wrong, NOW)


def test_the_end_of_a_token_is_read_in_every_spelling() -> None:
    at = NOW + timedelta(hours=2)
    unix = int(at.timestamp())
    claims = base64.urlsafe_b64encode(json.dumps({"exp": unix}).encode()).decode().rstrip("=")
    bodies: list[dict[str, Any]] = [
        {"token": "t", "expired_time": unix},
        {"token": "t", "expired_time": str(unix * 1000)},
        {"data": {"token": "t", "expires_in": 7200}},
        {"token": "t", "expires_at": at.isoformat()},
        {"token": "t", "expires_at": (at + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S")},
        {"access": f"{'header'}.{claims}.signature"},
    ]
    for body in bodies:
        assert Token.read(body, NOW).expires_at == at, body
    token = Token.read(bodies[0], NOW)
    assert token.is_valid(at - timedelta(seconds=61))
    assert not token.is_valid(at - timedelta(seconds=60))


@pytest.mark.parametrize("nonsense", [None, True, "soon", float("nan"), float("inf"), 1e300, "9" * 400, [], {}])
def test_what_is_no_time_is_none(nonsense: Any) -> None:
    assert moment(nonsense, NOW) is None


def test_an_id_is_a_number_or_a_word() -> None:
    assert [record_id(body) for body in ({"id": 5}, {"data": {"id": "a-1"}}, {"data": {"slide_id": 7}})] == [
        "5",
        "a-1",
        "7",
    ]
    for body in ({}, {"id": True}, {"id": 1.5}, {"id": ""}, {"id": "a/../b"}, {"id": "x" * 65}):
        assert record_id(body) is None


def test_each_address_is_its_own_or_made_from_the_base() -> None:
    known = rules.pathology(base_url="https://slides.example/", list_url="https://lists.example/x/")
    assert known.url("create_url") == "https://slides.example/api/v1/image/create/"
    assert known.url("list_url") == "https://lists.example/x/"
    for key in PATHS:
        with pytest.raises(NotConfigured, match=f"imaging.pathology.{key}"):
            rules.pathology().url(key)
    with pytest.raises(InputInvalid, match=r"imaging\.pathology\.create_url"):
        rules.pathology(create_url="http://slides.example/x").url("create_url")
    allowed = rules.pathology(create_url="http://slides.example/x", allow_http=True)
    assert allowed.url("create_url") == "http://slides.example/x"


async def test_an_unknown_disease_is_refused_before_anything_is_sent(
    client: Pathology, server: PathologyServer
) -> None:
    with pytest.raises(InputInvalid, match="6（通用组织切片），14（消化道活检AI）") as caught:
        await client.create("t", **{**CREATE, "disease": "7"})
    assert (caught.value.field, caught.value.value) == ("disease", "7")
    assert sum(server.seen.calls.values()) == 0


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing", encoding="utf-8")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(InputInvalid, match=r"imaging\.pathology\.ca_file"):
            Pathology(rules.pathology(ca_file=path))


async def test_no_error_and_no_log_holds_a_secret(
    client: Pathology, server: PathologyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await logged_in(client)
    given, _ = await client.credentials(token)
    texts = [repr(given), repr(Token.read({"token": token}, NOW))]
    for step in ("credentials", "callback", "create", "list", "login"):
        known = f"{PASSWORD} of {USERNAME}" if step == "login" else token
        echoed = json.dumps({"code": 7, "msg": f"bad {known} here"}).encode()
        for fault in (Fault(body=echoed), Fault(status=500, body=echoed), Fault(status=400, body=echoed), far.RESET):
            server.next(step, *[fault] * ATTEMPTS)
            with pytest.raises(ImagingError) as caught:
                await (client.login(USERNAME, PASSWORD, NOW) if step == "login" else called(client, step, token))
            texts += traceback.format_exception(caught.value)
            server.faults[step].clear()
    shown = "\n".join([*texts, *(each.getMessage() for each in caplog.records)])

    assert "bad *** of *** here" in shown
    assert "bad *** here" in shown
    assert len(server.secrets) > 4
    assert [secret for secret in server.secrets if secret in shown] == []
