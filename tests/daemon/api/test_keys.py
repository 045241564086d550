"""Who may do what: roles, rooms, both headers, HTTP and WebSocket alike."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from daemon.api.keys import KeysBroken, Right, Role, read_keys
from tests.daemon import harness
from tests.daemon.harness import Daemon

HIS, NURSE, ADMIN, ROOM1 = (
    "his-key-0123456789",
    "nurse-key-0123456789",
    "admin-key-0123456789",
    "room1-key-0123456789",
)
KEYS = f"""
[[keys]]
name = "his"
role = "his"
key = "{HIS}"
[[keys]]
name = "ward"
role = "nurse"
key_sha256 = "{hashlib.sha256(NURSE.encode()).hexdigest().upper()}"
[[keys]]
name = "ops"
role = "admin"
key = "{ADMIN}"
[[keys]]
name = "tablet 1"
role = "admin"
key = "{ROOM1}"
rooms = ["or-1"]
"""
RUNNING, OTHER_ROOM, NEVER = "100001", "100002", "999999"
QUESTION = "00000000-0000-0000-0000-000000000000"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, model: Any, clips: dict[str, Any]) -> AsyncIterator[Daemon]:
    folder = tmp_path_factory.mktemp("guarded")
    cameras = dict.fromkeys(("cam-1", "cam-2", "cam-3"), clips["nothing"])
    overrides = {
        "auth": {"keys_file": str(written(folder, KEYS))},
        "rooms": {"or-1": {"cameras": ["cam-1"]}, "or-2": {"cameras": ["cam-2", "cam-3"]}},
    }
    async with harness.serving(harness.settings_for(folder, model, cameras, overrides), {"X-API-Key": ADMIN}) as daemon:
        await daemon.started(RUNNING, "cam-1")
        await daemon.started(OTHER_ROOM, "cam-2")
        del daemon.http.headers["X-API-Key"]
        yield daemon


# What each request answers when the key may make it; nothing here changes anything.
REQUESTS: dict[str, tuple[str, str, dict[str, Any], Right | None, int]] = {
    "health": ("GET", "/health", {}, None, 200),
    "ready": ("GET", "/ready", {}, Right.READ, 200),
    "metrics": ("GET", "/metrics", {}, Right.READ, 200),
    "list": ("GET", "/client/surgeries", {}, Right.READ, 200),
    "surgery": ("GET", f"/client/surgeries/{RUNNING}", {}, Right.READ, 200),
    "ledger": ("GET", f"/client/surgeries/{RUNNING}/ledger", {}, Right.READ, 200),
    "report": ("GET", f"/client/surgeries/{RUNNING}/report.md", {}, Right.READ, 200),
    "result": ("GET", f"/client/surgeries/{RUNNING}/result", {}, Right.READ, 503),
    "queue": ("GET", f"/client/surgeries/{RUNNING}/pending-confirmation", {}, Right.READ, 404),
    "picture": ("GET", f"/client/surgeries/{RUNNING}/evidence/{QUESTION}.jpg", {}, Right.READ, 404),
    "clip": ("GET", f"/client/surgeries/{RUNNING}/evidence/{QUESTION}.mp4", {}, Right.READ, 404),
    "start": (
        "POST",
        "/client/surgeries/start",
        {"json": {"surgery_id": RUNNING, "camera_ids": ["cam-1"]}},
        Right.START_END,
        200,
    ),
    "end": ("POST", "/client/surgeries/end", {"json": {"surgery_id": NEVER}}, Right.START_END, 503),
    "choose": (
        "POST",
        f"/client/surgeries/{RUNNING}/pending-confirmation/{QUESTION}/choose",
        {"json": {"rejected": True}},
        Right.ANSWER,
        404,
    ),
    "correct": (
        "POST",
        f"/client/surgeries/{RUNNING}/corrections",
        {"json": {"action": "void", "posting_id": QUESTION, "reason": "x", "doctor_id": "D1"}},
        Right.CORRECT,
        404,
    ),
    "assignment": ("GET", "/client/voice-terminals/vt-99/assignment", {}, Right.ANSWER, 404),
    "resolve": (
        "POST",
        f"/client/surgeries/{RUNNING}/pending-confirmation/{QUESTION}/resolve",
        {"files": {"audio": ("a.wav", b"x")}},
        Right.ANSWER,
        404,
    ),
}
MAY = {
    HIS: {Right.READ, Right.START_END},
    NURSE: {Right.READ, Right.ANSWER, Right.CORRECT},
    ADMIN: set(Right),
    ROOM1: set(Right),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("key", [HIS, NURSE, ADMIN, ROOM1, "unknown-key-0123456789", "", None])
async def test_each_role_may_do_what_it_is_for(guarded: Daemon, name: str, key: str | None) -> None:
    method, path, content, right, status = REQUESTS[name]
    if right is not None:
        status = status if right in MAY.get(key or "", ()) else 403 if key in MAY else 401
    headers = {} if key is None else {"X-API-Key": key}
    answer = await guarded.http.request(method, path, headers=headers, **content)
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.json()["detail"]["code"] == "UNAUTHORIZED"
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 403:
        assert answer.json()["detail"]["code"] == "FORBIDDEN"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {HIS}"}, 200),
        ({"Authorization": f"bearer {HIS}"}, 200),
        ({"Authorization": f"Basic {HIS}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer unknown", "X-API-Key": HIS}, 200),
        ({"Authorization": f"Bearer {HIS}", "X-API-Key": "unknown"}, 401),
        ({"X-API-Key": "é".encode("latin-1")}, 401),
    ],
    ids=str,
)
async def test_a_key_travels_in_either_header(guarded: Daemon, headers: dict[str, Any], status: int) -> None:
    assert (await guarded.http.get("/ready", headers=headers)).status_code == status


@pytest.mark.asyncio(loop_scope="module")
async def test_a_room_key_sees_and_touches_its_room_only(guarded: Daemon) -> None:
    headers = {"X-API-Key": ROOM1}

    async def status(method: str, path: str, **content: Any) -> int:
        answer = await guarded.http.request(method, f"/client/surgeries{path}", headers=headers, **content)
        return answer.status_code

    evidence = (f"/evidence/{QUESTION}.jpg", f"/evidence/{QUESTION}.mp4")
    for path in ("", "/ledger", "/result", "/report.tsv", "/pending-confirmation", *evidence):
        assert await status("GET", f"/{OTHER_ROOM}{path}") == 403, path
    assert await status("POST", "/end", json={"surgery_id": OTHER_ROOM}) == 403
    answer = f"/{OTHER_ROOM}/pending-confirmation/{QUESTION}"
    assert await status("POST", answer + "/choose", json={"rejected": True}) == 403
    assert await status("POST", answer + "/resolve", files={"audio": ("a.wav", b"x")}) == 403
    for cameras in (["cam-3"], ["cam-1", "cam-3"]):
        assert await status("POST", "/start", json={"surgery_id": NEVER, "camera_ids": cameras}) == 403
    # Another room's surgery_id with a camera of its own: neither taken over nor described.
    assert await status("POST", "/start", json={"surgery_id": OTHER_ROOM, "camera_ids": ["cam-1"]}) == 403
    listed = (await guarded.http.get("/client/surgeries", headers=headers)).json()["surgeries"]
    assert [row["surgery_id"] for row in listed] == [RUNNING]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_room_keys_pages_are_full_pages(guarded: Daemon) -> None:
    listed = await guarded.http.get("/client/surgeries?limit=1", headers={"X-API-Key": ROOM1})
    assert [row["surgery_id"] for row in listed.json()["surgeries"]] == [RUNNING]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("surgery_id", "headers", "code"),
    [
        (RUNNING, {}, 4401),
        (RUNNING, {"X-API-Key": "unknown-key-0123456789"}, 4401),
        (OTHER_ROOM, {"X-API-Key": ROOM1}, 4403),
        (NEVER, {"X-API-Key": HIS}, 4404),
        ("12345", {"X-API-Key": HIS}, 4422),
    ],
    ids=str,
)
async def test_a_listener_is_refused_with_its_code(
    guarded: Daemon, surgery_id: str, headers: dict[str, str], code: int
) -> None:
    async with guarded.events(surgery_id, headers=headers) as events:
        with pytest.raises(ConnectionClosed) as closed:
            await events.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("key", [HIS, NURSE, ADMIN, ROOM1])
async def test_who_may_read_may_listen(guarded: Daemon, key: str) -> None:
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        async with guarded.events(RUNNING, headers=headers) as events:
            assert (await events.next())["type"] == "surgery_started"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_wrong_key_costs_the_same_answer_whatever_it_is(guarded: Daemon) -> None:
    answers = await asyncio.gather(
        *(guarded.http.get("/ready", headers={"X-API-Key": key}) for key in ("x", HIS[:-1], HIS + "0", "y" * 5000))
    )
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_keys_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeysBroken, match=f"mode 0{mode:o} lets others read it; expected 0600"):
        read_keys(written(tmp_path, KEYS, mode), frozenset({"or-1"}))


def test_keys_are_read_with_role_and_rooms(tmp_path: Path) -> None:
    keys = read_keys(written(tmp_path, KEYS, 0o400), frozenset({"or-1"}))
    found = keys.caller(ROOM1)
    assert found is not None
    assert (found.name, found.role, found.rooms) == ("tablet 1", Role.ADMIN, frozenset({"or-1"}))
    assert keys.caller(NURSE) is not None
    assert keys.caller(hashlib.sha256(NURSE.encode()).hexdigest()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "keys: Field required"),
        ("keys = []", "keys"),
        ("[[keys]]\nname = 'a'\nrole = 'his'\n", "exactly one of key and key_sha256"),
        (
            "[[keys]]\nname = 'a'\nrole = 'his'\nkey = '{k}'\nkey_sha256 = '" + "a" * 64 + "'",
            "exactly one of key and key_sha256",
        ),
        ("[[keys]]\nname = 'a'\nrole = 'boss'\nkey = '{k}'", "keys.0.role"),
        ("[[keys]]\nname = 'a'\nrole = 'his'\nkey = 'short'", "keys.0.key"),
        ("[[keys]]\nname = 'a'\nrole = 'his'\nkey_sha256 = 'zz'", "keys.0.key_sha256"),
        ("[[keys]]\nname = 'a'\nrole = 'his'\nkey = '{k}'\nroom = ['x']", "keys.0.room"),
        ("[[keys]]\nname = 'a'\nrole = 'his'\nkey = '{k}'\nrooms = ['x']", "rooms ['x'] are not configured"),
        (
            "[[keys]]\nname = 'a'\nrole = 'his'\nkey = '{k}'\n[[keys]]\nname = 'b'\nrole = 'nurse'\nkey = '{k}'",
            "keys 'a' and 'b' are the same key",
        ),
        ("[[keys", "not valid TOML"),
    ],
)
def test_a_broken_keys_file_is_named_and_never_shows_a_key(tmp_path: Path, text: str, said: str) -> None:
    secret = "secret-0123456789abcdef"
    with pytest.raises(KeysBroken) as broken:
        read_keys(written(tmp_path, text.replace("{k}", secret)), frozenset())
    assert said in str(broken.value)
    assert "secret" not in str(broken.value)
    assert "short" not in str(broken.value).removeprefix(str(tmp_path)).replace("too_short", "")


def test_a_keys_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeysBroken, match="cannot be read: No such file or directory"):
        read_keys(tmp_path / "none.toml", frozenset())
