"""A screen in a room is told its surgery and the question to answer: at once, at every change, never twice."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from daemon.api.voice_terminals import tell
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.facts import Fact, FactKind
from daemon.domain.sighting import Outcome
from daemon.domain.surgery import Surgery
from daemon.services.observe import observe
from tests import rules
from tests.daemon.api.test_keys import ADMIN, HIS, KEYS, NURSE, ROOM1, written
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import JSON, Daemon, Events
from tests.daemon.rows import CANDIDATES, T0, at, seen
from tests.waiting import DEADLINE_S, until

RULES = rules.observing(evidence=False)
CAMERAS = dict.fromkeys(("a", "b", "c", "d"), "nothing")
ROOMS = {
    "or-1": {"cameras": ["a", "b"], "voice_terminal": "vt-01"},
    "or-2": {"cameras": ["c"], "voice_terminal": "vt-02"},
    "or-3": {"cameras": ["d"]},
}
# Nobody answers by voice here: no ear has to be loaded.
SITE: dict[str, Any] = {"cameras": CAMERAS, "rooms": ROOMS, "speech": {"tts": ["espeak"], "asr": []}}


@pytest.fixture
async def daemon(daemon_on: DaemonOn) -> AsyncIterator[Daemon]:
    async with daemon_on(**SITE) as running:
        yield running


@asynccontextmanager
async def screen(
    daemon: Daemon, terminal_id: str | None = "vt-01", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Events]:
    query = "" if terminal_id is None else f"?terminal_id={quote(terminal_id)}"
    url = f"ws://{daemon.address}/client/voice-terminals/ws{query}"
    async with connect(url, additional_headers=headers, open_timeout=DEADLINE_S) as socket:
        yield Events(socket)


async def refused(daemon: Daemon, terminal_id: str | None, headers: Mapping[str, str] | None = None) -> Close:
    async with screen(daemon, terminal_id, headers) as events:
        with pytest.raises(ConnectionClosed) as closed:
            await events.next()
    assert closed.value.rcvd is not None
    return closed.value.rcvd


async def running(daemon: Daemon, surgery_id: str) -> Surgery:
    async with daemon.parts.context.unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
    assert run is not None
    return run


async def asked(daemon: Daemon, surgery_id: str, second: float = 0) -> str:
    """Ask about something that was seen; returns the confirmation_id."""
    unit, run = daemon.parts.context.unit, await running(daemon, surgery_id)
    sight = seen(second, camera=run.cameras[0], outcome=Outcome.ASKED)
    await observe(unit, run, CANDIDATES, sight, RULES, at(second + 1))
    async with unit.read() as tx:
        return str((await tx.confirmations.of_run(run.id, [ConfirmationState.PENDING]))[-1].id)


def assigned(surgery_id: str | None) -> JSON:
    return {
        "type": "assignment",
        "terminal_id": "vt-01",
        "surgery_id": surgery_id,
        "or_room_id": "or-1",
        "camera_ids": ["a", "b"],
    }


def empty(surgery_id: str | None) -> JSON:
    return {"type": "voice_pending_empty", "terminal_id": "vt-01", "surgery_id": surgery_id}


async def told(events: Events, count: int = 2) -> list[JSON]:
    return [await events.next() for _ in range(count)]


async def test_a_screen_is_told_of_the_start_and_the_end(daemon: Daemon) -> None:
    async with screen(daemon) as events:
        assert await told(events) == [assigned(None), empty(None)]
        await daemon.started("100001", "a", "b")
        assert await told(events) == [assigned("100001"), empty("100001")]
        await daemon.end("100001")
        assert await told(events) == [assigned(None), empty(None)]


async def test_a_question_comes_with_its_sound_and_all_that_polling_for_it_gives(daemon: Daemon) -> None:
    await daemon.started("100001", "a", "b")
    async with screen(daemon) as events:
        assert await told(events) == [assigned("100001"), empty("100001")]
        question = await asked(daemon, "100001")
        pushed = await events.next()
        assert (pushed["type"], pushed["confirmation_id"]) == ("voice_pending", question)
        assert len(base64.b64decode(pushed["prompt_audio_mp3_base64"])) > 1000
        polled = (await daemon.get("100001/pending-confirmation")).json()
        assert pushed == {"type": "voice_pending", **polled}


async def test_an_answer_brings_the_next_question_and_the_last_answer_silence(daemon: Daemon) -> None:
    await daemon.started("100001", "a", "b")
    async with screen(daemon) as events:
        await told(events)
        first, second, third = [await asked(daemon, "100001", second) for second in (0, 10, 20)]
        for question in (first, second, third):
            # Whatever was asked meanwhile, only what stands at the head is told, and once.
            while (message := await events.next())["type"] == "voice_pending_empty":
                pass
            assert message["confirmation_id"] == question
            assert (await daemon.choose("100001", question, rejected=True)).status_code == 200
        assert await events.next() == empty("100001")
        pushed = [message["confirmation_id"] for message in events.seen if message["type"] == "voice_pending"]
        assert pushed == [first, second, third]


async def test_what_changes_nothing_for_the_screen_is_not_told(daemon: Daemon) -> None:
    await daemon.started("100001", "a", "b")
    await daemon.started("100002", "c")
    async with screen(daemon) as events:
        await told(events)
        first = await asked(daemon, "100001")
        assert (await events.next())["confirmation_id"] == first
        await asked(daemon, "100001", 10)
        await asked(daemon, "100002")
        await daemon.end("100002")
        await daemon.end("100001")
        assert await told(events) == [assigned(None), empty(None)]


async def test_coming_back_one_is_told_what_is_so_now(daemon: Daemon) -> None:
    await daemon.started("100001", "a", "b")
    first, second = await asked(daemon, "100001"), await asked(daemon, "100001", 10)
    for _ in range(2):
        async with screen(daemon) as events:
            await events.until("voice_pending")
            assert events.seen[0] == assigned("100001")
            assert events.seen[-1]["confirmation_id"] == first
    await daemon.choose("100001", first, rejected=True)
    async with screen(daemon) as events:
        assert (await events.until("voice_pending"))["confirmation_id"] == second
    await daemon.end("100001")
    async with screen(daemon) as events:
        assert await told(events) == [assigned(None), empty(None)]


async def test_all_screens_of_a_room_are_told_everything(daemon: Daemon) -> None:
    async with screen(daemon) as one, screen(daemon) as two, screen(daemon, "vt-02") as elsewhere:
        await daemon.started("100001", "a", "b")
        question = await asked(daemon, "100001")
        for events in (one, two):
            assert (await events.until("voice_pending"))["confirmation_id"] == question
        await daemon.choose("100001", question, rejected=True)
        for events in (one, two):
            assert await events.next() == empty("100001")
        await daemon.started("100002", "c")
        while (message := await elsewhere.next())["surgery_id"] is None:
            assert message["type"] in ("assignment", "voice_pending_empty")
        assert (message["surgery_id"], message["or_room_id"], message["camera_ids"]) == ("100002", "or-2", ["c"])


async def test_a_question_that_cannot_be_spoken_is_told_to_be_read(daemon_on: DaemonOn) -> None:
    async with daemon_on(**{**SITE, "speech": {"asr": [], "tts": []}}) as daemon:
        await daemon.started("100001", "a", "b")
        question = await asked(daemon, "100001")
        async with screen(daemon) as events:
            pushed = await events.until("voice_pending")
            assert (pushed["confirmation_id"], pushed["prompt_audio_mp3_base64"]) == (question, "")
            assert pushed["error"]["code"] == "BAIDU_NOT_CONFIGURED"
            assert [option["label"] for option in pushed["options"]] == ["gauze", "suture"]
            assert pushed["prompt_text"]
            assert (await daemon.choose("100001", question, label="suture")).status_code == 200
            assert await events.next() == empty("100001")


async def test_a_question_that_finds_its_voice_is_told_once_more_with_it(daemon_on: DaemonOn, tmp_path: Path) -> None:
    hoarse, program = tmp_path / "hoarse", tmp_path / "voice"
    program.write_text(f'#!/bin/sh\n[ -e "{hoarse}" ] && exit 1\nexec espeak-ng "$@"\n')
    program.chmod(0o755)
    speech = {"asr": [], "tts": ["espeak"], "espeak": {"program": str(program)}}
    async with daemon_on(**{**SITE, "speech": speech}) as daemon, screen(daemon) as events:
        await daemon.started("100001", "a", "b")
        hoarse.touch()
        question = await asked(daemon, "100001")
        silent = await events.until("voice_pending")
        assert (silent["confirmation_id"], silent["error"]["code"]) == (question, "TTS_ERROR")
        hoarse.unlink()
        # Whatever is asked next, all that is silent is tried again.
        await asked(daemon, "100001", 10)
        spoken = await events.next()
        assert spoken["confirmation_id"] == question
        assert len(base64.b64decode(spoken["prompt_audio_mp3_base64"])) > 1000
        assert "error" not in spoken


async def test_a_start_that_fails_assigns_nothing(daemon_on: DaemonOn) -> None:
    cameras = {**CAMERAS, "b": "/nowhere/film.mp4"}
    async with daemon_on(**{**SITE, "cameras": cameras}) as daemon, screen(daemon) as events:
        await told(events)
        assert (await daemon.start("100001", "a", "b")).status_code == 503
        await daemon.started("100002", "a")
        assert await told(events) == [assigned("100002"), empty("100002")]


async def test_of_two_surgeries_in_a_room_the_one_started_last_is_told(daemon: Daemon) -> None:
    async with screen(daemon) as events:
        await told(events)
        await daemon.started("100001", "a")
        assert await told(events) == [assigned("100001"), empty("100001")]
        question = await asked(daemon, "100001")
        assert (await events.next())["confirmation_id"] == question
        await daemon.started("100002", "b")
        assert await told(events) == [assigned("100002"), empty("100002")]
        await daemon.end("100002")
        first, second = await told(events)
        assert (first, second["confirmation_id"]) == (assigned("100001"), question)


@pytest.mark.parametrize(
    ("cameras", "why"),
    [(["d"], "rooms.or-3.voice_terminal is unset"), (["b", "c"], "no one room has cameras b, c")],
    ids=["room without terminal", "cameras of two rooms"],
)
async def test_a_surgery_that_no_screen_hears_of_is_said_once_in_the_log(
    daemon: Daemon, cameras: list[str], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with screen(daemon) as events:
        await told(events)
        await daemon.started("100001", *cameras)
        await asked(daemon, "100001")
        await daemon.end("100001")
        await daemon.started("100002", "a", "b")
        assert await told(events) == [assigned("100002"), empty("100002")]
    warnings = [each.getMessage() for each in caplog.records if "no voice terminal" in each.getMessage()]
    assert warnings == [f"surgery 100001 has no voice terminal: {why}"]


async def test_after_a_restart_the_open_question_is_told_again(daemon_on: DaemonOn) -> None:
    async with contextlib.AsyncExitStack() as still_connected:
        async with daemon_on(**SITE) as daemon:
            await daemon.started("100001", "a", "b")
            question = await asked(daemon, "100001")
            events = await still_connected.enter_async_context(screen(daemon))
            before = await events.until("voice_pending")
        with pytest.raises(ConnectionClosed) as closed:
            await events.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    async with daemon_on(**SITE) as daemon, screen(daemon) as events:
        after = await events.until("voice_pending")
        assert events.seen[0] == assigned("100001")
        assert (after, after["confirmation_id"]) == (before, question)
        await daemon.choose("100001", question, rejected=True)
        assert await events.next() == empty("100001")


async def test_while_the_ledger_is_away_a_screen_stays_and_then_misses_nothing(daemon: Daemon) -> None:
    unit = daemon.parts.context.unit
    await daemon.started("100001", "a", "b")
    run = await running(daemon, "100001")

    async def renamed(old: str, new: str) -> None:
        """And everyone is woken to look."""
        async with unit.begin() as tx:
            await tx.ledger._connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
            await tx.emit(Fact(kind=FactKind.REJECTED, run_id=run.id, surgery_id="100001", at=T0))

    async with screen(daemon) as events:
        await told(events)
        await renamed("confirmations", "away")
        assert (await daemon.get("100001/pending-confirmation")).status_code == 503
        await renamed("away", "confirmations")
        question = await asked(daemon, "100001")
        assert (await events.next())["confirmation_id"] == question


class Screen:
    """The far side of the wire: takes a message only when it is told to."""

    def __init__(self) -> None:
        self.offered: asyncio.Queue[JSON] = asyncio.Queue()
        self.takes = asyncio.Semaphore(0)

    async def send(self, text: str) -> None:
        self.offered.put_nowait(json.loads(text))
        await self.takes.acquire()

    async def next(self) -> JSON:
        async with asyncio.timeout(DEADLINE_S):
            return await self.offered.get()


async def test_a_screen_that_is_slow_is_told_what_is_so_then_and_not_what_was(daemon: Daemon) -> None:
    parts, slow = daemon.parts.context, Screen()
    with parts.terminals.listening() as changed:
        telling = asyncio.create_task(tell(slow.send, parts, parts.terminals.get("vt-01"), changed))
        assert await slow.next() == assigned(None)
        await daemon.started("100001", "a", "b")
        for second in range(0, 100, 10):
            question = await asked(daemon, "100001", second)
            await daemon.choose("100001", question, rejected=True)
        last = await asked(daemon, "100001", 100)
        await until_ready(daemon, "100001")
        slow.takes.release()
        assert await slow.next() == empty(None)
        slow.takes.release()
        assert await slow.next() == assigned("100001")
        slow.takes.release()
        assert (await slow.next())["confirmation_id"] == last
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        assert slow.offered.empty()


async def until_ready(daemon: Daemon, surgery_id: str) -> None:
    """Until the head of the queue has its sound."""
    async with screen(daemon) as events:
        await events.until("voice_pending")


async def test_a_screen_that_takes_nothing_is_given_up(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    parts, dead = daemon.parts.context, Screen()
    with parts.terminals.listening() as changed:
        async with asyncio.timeout(DEADLINE_S):
            await tell(dead.send, parts, parts.terminals.get("vt-01"), changed, taken_within_s=0.05)
    assert "voice terminal vt-01 does not take what it is told: disconnected" in caplog.text


async def test_a_terminal_that_no_room_names_is_refused_by_name(daemon: Daemon) -> None:
    closed = await refused(daemon, "vt-99")
    assert (closed.code, closed.reason) == (4404, "没有手术间使用该语音终端：vt-99")
    assert (await refused(daemon, "终" * 64)).code == 4404


@pytest.mark.parametrize("terminal_id", [None, "", "x" * 65], ids=["none", "empty", "too long"])
async def test_a_terminal_id_that_cannot_be_one_is_refused(daemon: Daemon, terminal_id: str | None) -> None:
    assert (await refused(daemon, terminal_id)).code == 4422


async def test_connections_are_limited_and_those_that_vanish_free_their_places(
    daemon_on: DaemonOn, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon_on(**SITE, server={"event_clients_max": 2}) as daemon:
        terminals = daemon.parts.context.terminals
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                events = await stack.enter_async_context(screen(daemon))
                await told(events)
            assert (await refused(daemon, "vt-01")).code == 4429
            events.socket.transport.abort()
            await until(lambda: terminals.listeners == 1)
        await until(lambda: terminals.listeners == 0)
        async with screen(daemon) as events:
            assert await events.next() == assigned(None)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("chatter", ["hello", b"\x00\xff"], ids=["text", "bytes"])
async def test_what_a_screen_says_is_ignored(daemon: Daemon, chatter: str | bytes) -> None:
    async with screen(daemon) as events:
        await told(events)
        await events.socket.send(chatter)
        await daemon.started("100001", "a", "b")
        assert await told(events) == [assigned("100001"), empty("100001")]


async def test_the_assignment_can_be_asked_for(daemon: Daemon) -> None:
    path = "/client/voice-terminals/vt-01/assignment"
    assert (await daemon.http.get(path)).json() == assigned(None)
    await daemon.started("100001", "b")
    assert (await daemon.http.get(path)).json() == assigned("100001")
    await daemon.end("100001")
    assert (await daemon.http.get(path)).json() == assigned(None)


async def test_only_who_may_answer_in_that_room_may_be_its_terminal(daemon_on: DaemonOn, tmp_path: Path) -> None:
    keys = str(written(tmp_path, KEYS))
    async with daemon_on(**SITE, auth={"keys_file": keys}) as daemon:
        for terminal_id, key, code, status in [
            ("vt-01", None, 4401, 401),
            ("vt-01", "unknown-key-0123456789", 4401, 401),
            ("vt-01", HIS, 4403, 403),
            ("vt-02", ROOM1, 4403, 403),
            ("vt-99", NURSE, 4404, 404),
        ]:
            headers = {"X-API-Key": key} if key else {}
            assert (await refused(daemon, terminal_id, headers)).code == code
            path = f"/client/voice-terminals/{terminal_id}/assignment"
            assert (await daemon.http.get(path, headers=headers)).status_code == status
        for terminal_id, key in [("vt-01", NURSE), ("vt-02", NURSE), ("vt-02", ADMIN), ("vt-01", ROOM1)]:
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
                async with screen(daemon, terminal_id, headers) as events:
                    assert (await events.next())["type"] == "assignment"
            path = f"/client/voice-terminals/{terminal_id}/assignment"
            assert (await daemon.http.get(path, headers=headers)).status_code == 200
