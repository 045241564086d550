"""A surgery from start to end and over again; races, failures and restarts leave nothing wrong behind."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from daemon.bridge import off_loop
from daemon.services.surgeries import ALREADY_STARTED, ENDED, STARTED
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon, threads
from tests.daemon.scenes import RED, film
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspCamera, SilentServer, why_unavailable
from tests.waiting import until

TWO = {"cam-1": "nothing", "cam-2": "nothing"}


def captures() -> set[str]:
    return {thread.name for thread in threads()} - {"classify"}


async def test_of_two_surgeries_that_start_with_one_camera_exactly_one_wins(daemon: Daemon) -> None:
    answers = await asyncio.gather(*(daemon.start(f"10000{n}", "nothing") for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    losers = {answer.json()["detail"]["code"] for answer in answers if answer.status_code == 409}
    assert losers == {"CAMERA_ALREADY_IN_USE"}
    assert captures() == {"capture:nothing"}


async def test_the_same_start_twice_at_once_is_one_start(daemon: Daemon) -> None:
    answers = await asyncio.gather(*(daemon.start("100001", "nothing") for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    async with daemon.events("100001") as events:
        assert (await events.next())["type"] == "surgery_started"
        await daemon.end("100001")
        assert (await events.next())["type"] == "surgery_ended", "the surgery started more than once"
    late = await daemon.start("100002", "nothing")
    assert late.json()["message"] == STARTED


async def test_a_start_with_other_cameras_while_the_first_is_under_way_is_refused(daemon_on: DaemonOn) -> None:
    with SilentServer() as silent:
        async with daemon_on(cameras={"silent": silent.url, "cam-1": "nothing"}) as daemon:
            first = asyncio.create_task(daemon.start("100001", "silent"))
            await off_loop(silent.wait_for_client)
            other = await daemon.start("100001", "cam-1")
            assert other.json()["detail"]["code"] == "SURGERY_ALREADY_RUNNING"
            taken = await daemon.start("100002", "silent")
            assert taken.json()["detail"]["code"] == "CAMERA_ALREADY_IN_USE"
            # An end calls off a start that has not come up.
            assert (await daemon.end("100001")).status_code == 200
            assert (await first).json()["detail"]["code"] == "RECORDING_CANNOT_START"
            await until(lambda: not captures())
            assert (await daemon.start("100002", "cam-1")).status_code == 200


async def test_ending_twice_at_once_and_again_is_one_end(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    answers = await asyncio.gather(daemon.end("100001"), daemon.end("100001"))
    assert [answer.status_code for answer in (*answers, await daemon.end("100001"))] == [200] * 3
    assert captures() == set()
    async with daemon.events("100001") as events:
        assert [(await events.next())["type"] for _ in range(2)] == ["surgery_started", "surgery_ended"]


async def test_a_start_that_comes_while_the_surgery_is_ending_starts_it_again(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    surgeries, now = daemon.parts.context.surgeries, datetime.now(UTC)
    ended, started = await asyncio.gather(
        surgeries.end("100001", now), surgeries.start("100001", ("nothing",), (), now)
    )
    assert (ended, started) == (ENDED, STARTED)
    assert (await daemon.get("100001")).json()["state"] == "running"
    assert captures() == {"capture:nothing"}


@pytest.mark.parametrize("down", ["refusing", "missing file", "silent"])
async def test_a_start_that_fails_names_the_camera_and_leaves_nothing_running(daemon_on: DaemonOn, down: str) -> None:
    with SilentServer() as silent:
        url = {
            "refusing": f"rtsp://ops:geheim@127.0.0.1:{free_port()}/stream",
            "missing file": "/nowhere/film.mp4",
            "silent": silent.url,
        }[down]
        rules = {"start_timeout_s": 3, "start_attempts": 1}
        async with daemon_on(cameras={**TWO, "down": url}, surgery=rules) as daemon:
            answer = await daemon.start("100001", "cam-1", "down")
            assert answer.status_code == 503
            detail = answer.json()["detail"]
            assert detail["code"] == "RECORDING_CANNOT_START"
            assert detail["camera_ids"] == ["down"]
            assert "down（" in detail["message"]
            assert "geheim" not in answer.text
            await until(lambda: not captures())
            assert (await daemon.get("100001")).status_code == 404
            assert (await daemon.start("100002", "cam-1")).status_code == 200
            assert (await daemon.http.get("/ready")).json()["ready"]


async def test_real_rtsp_with_a_wrong_path_or_password_cannot_start_and_right_ones_can(
    daemon_on: DaemonOn, clips: dict[str, Path]
) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    with RtspCamera(clips["gauzes"], user="ops", password="geheim") as camera:
        port = camera.port
        cameras = {
            "right": camera.url,
            "path": f"rtsp://ops:geheim@127.0.0.1:{port}/elsewhere",
            "password": f"rtsp://ops:falsch@127.0.0.1:{port}/stream",
        }
        async with daemon_on(cameras=cameras) as daemon:
            for name, why in [("path", "RTSP 路径不存在"), ("password", "用户名或口令错误")]:
                answer = await daemon.start("100001", name)
                assert answer.status_code == 503
                assert why in answer.json()["detail"]["message"]
                assert "falsch" not in answer.text
            await daemon.started("100001", "right")
            assert (await daemon.heard("100001", "booked"))["item_name"] == "纱布"


async def test_a_surgery_started_again_within_the_window_goes_on_with_its_ledger(daemon_on: DaemonOn) -> None:
    # Two cameras see the same item within fusion_s otherwise: one consumption.
    async with daemon_on(inference={"fusion_s": 0}) as daemon:
        await daemon.started("100001", "gauze")
        await daemon.heard("100001", "booked")
        await daemon.end("100001")
        await daemon.started("100001", "doubtful")
        await daemon.question("100001")
        (detail,) = (await daemon.get("100001/result")).json()["details"]
        assert detail["item_name"] == "纱布"
        assert [row["kind"] for row in await daemon.ledger("100001")] == ["consumption", "placeholder"]
        assert (await daemon.get("100001")).json()["cameras"] == ["doubtful"]
        assert len((await daemon.http.get("/client/surgeries")).json()["surgeries"]) == 1


async def test_a_surgery_started_after_the_window_is_a_new_run(daemon_on: DaemonOn) -> None:
    async with daemon_on(surgery={"resume_window_h": 0}) as daemon:
        await daemon.started("100001", "gauze")
        await daemon.heard("100001", "booked")
        await daemon.end("100001")
        await daemon.started("100001", "nothing")
        assert (await daemon.get("100001/result")).json()["detail"]["code"] == "RESULT_NOT_READY"
        assert await daemon.ledger("100001") == []
        assert len((await daemon.http.get("/client/surgeries")).json()["surgeries"]) == 2
        assert len(list((daemon.settings.logs.folder / "consumption").glob("100001_*.tsv"))) == 2


async def test_an_unanswered_question_ends_unresolved_and_is_open_again_when_the_surgery_goes_on(
    daemon: Daemon,
) -> None:
    await daemon.started("100001", "doubtful")
    question = await daemon.question("100001")
    ended = await daemon.end("100001")
    assert "1 条待确认未答复" in ended.json()["message"]
    refused = await daemon.choose("100001", question, label="纱布")
    assert refused.json()["detail"]["code"] == "CONFIRMATION_NOT_FOUND"
    assert (await daemon.get("100001/result")).status_code == 503
    await daemon.started("100001", "nothing")
    assert (await daemon.choose("100001", question, label="纱布")).status_code == 200
    assert len((await daemon.get("100001/result")).json()["details"]) == 1


async def test_a_start_again_that_fails_leaves_the_ended_surgery_as_it_was(daemon_on: DaemonOn) -> None:
    async with daemon_on(cameras={"gauze": "gauze", "down": "/nowhere/film.mp4"}) as daemon:
        await daemon.started("100001", "gauze")
        await daemon.heard("100001", "booked")
        await daemon.end("100001")
        assert (await daemon.start("100001", "down")).status_code == 503
        assert (await daemon.get("100001")).json()["state"] == "ended"
        assert (await daemon.get("100001/result")).status_code == 200
        assert (await daemon.end("100001")).status_code == 200


async def broken(daemon: Daemon, writing: str) -> None:
    """From now on the ledger does not take this, as if its disk were full."""
    statement = f"CREATE TRIGGER broken AFTER {writing} BEGIN DELETE FROM missing; END"
    await off_loop(_execute, daemon.settings.database.ledger, statement)


async def mended(daemon: Daemon) -> None:
    await off_loop(_execute, daemon.settings.database.ledger, "DROP TRIGGER broken")
    # SQLite compiles triggers from the schema a connection knows; each connection of the pool reads it anew.
    for _ in range(8):
        await daemon.parts.context.unit.check()


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def code(answer: httpx.Response) -> str:
    return str(answer.json()["detail"]["code"])


async def test_a_start_that_the_ledger_does_not_take_leaves_nothing_running(daemon: Daemon) -> None:
    await broken(daemon, "INSERT ON outbox")  # where a start is confirmed, after its cameras came up
    assert code(await daemon.start("100001", "nothing")) == "LEDGER_UNAVAILABLE"
    assert captures() == set()
    await mended(daemon)
    await daemon.started("100002", "nothing")


async def test_cameras_that_a_broken_ledger_could_not_give_back_are_free_once_it_works(daemon_on: DaemonOn) -> None:
    with SilentServer() as silent:
        async with daemon_on(
            cameras={"cam-1": "nothing", "silent": silent.url}, surgery={"start_timeout_s": 1}
        ) as daemon:
            start = asyncio.create_task(daemon.start("100001", "cam-1", "silent"))
            await off_loop(silent.wait_for_client)
            await broken(daemon, "UPDATE ON surgeries")
            assert code(await start) == "LEDGER_UNAVAILABLE"
            assert captures() == set()
            await mended(daemon)
            await daemon.started("100002", "cam-1")


async def test_an_end_that_the_ledger_does_not_take_can_be_made_again(daemon: Daemon) -> None:
    await daemon.started("100001", "gauze")
    await daemon.heard("100001", "booked")
    await broken(daemon, "INSERT ON outbox")
    assert code(await daemon.end("100001")) == "LEDGER_UNAVAILABLE"
    await mended(daemon)
    assert (await daemon.end("100001")).status_code == 200
    assert (await daemon.get("100001")).json()["state"] == "ended"
    assert captures() == set()


async def test_a_start_after_an_end_that_the_ledger_did_not_take_brings_the_cameras_back(daemon: Daemon) -> None:
    await daemon.started("100001", "gauze")
    await daemon.heard("100001", "booked")
    await broken(daemon, "INSERT ON outbox")
    assert code(await daemon.end("100001")) == "LEDGER_UNAVAILABLE"
    await mended(daemon)
    assert captures() == set()
    await daemon.started("100001", "gauze")
    assert len(captures()) == 1
    assert len([row for row in await daemon.ledger("100001") if row["kind"] == "consumption"]) >= 1


async def test_after_a_restart_surgeries_go_on_and_nothing_is_lost_or_doubled(daemon_on: DaemonOn) -> None:
    async with daemon_on() as daemon:
        await daemon.started("100001", "gauze_stays")
        await daemon.started("100002", "doubtful_stays")
        await daemon.started("100003", "nothing")
        await daemon.heard("100001", "booked")
        question = await daemon.question("100002")
        before = {surgery_id: await daemon.ledger(surgery_id) for surgery_id in ("100001", "100002")}
        await daemon.end("100003")
    async with daemon_on() as daemon:
        for surgery_id, rows in before.items():
            await daemon.heard(surgery_id, "surgery_resumed")
            merged = await daemon.heard(surgery_id, "merged")
            assert merged["reason"] == "seen_before_restart"
            assert await daemon.ledger(surgery_id) == rows
        head = (await daemon.get("100002/pending-confirmation")).json()["detail"]
        assert head["confirmation_id"] == question
        assert (await daemon.choose("100002", question, label="纱布")).status_code == 200
        assert (await daemon.start("100001", "gauze_stays")).json()["message"].startswith(ALREADY_STARTED)
        assert code(await daemon.start("100004", "gauze_stays")) == "CAMERA_ALREADY_IN_USE"
        assert (await daemon.get("100003")).json()["state"] == "ended"
        for form in ("tsv", "md"):
            (file,) = (daemon.settings.logs.folder / "consumption").glob(f"100001_*.{form}")
            assert (await daemon.get(f"100001/report.{form}")).text == file.read_text(encoding="utf-8")


async def test_an_item_that_comes_after_a_restart_is_booked(daemon_on: DaemonOn) -> None:
    async with daemon_on(cameras={"cam-1": "nothing"}) as daemon:
        await daemon.started("100001", "cam-1")
    async with daemon_on(cameras={"cam-1": "gauzes"}) as daemon, daemon.events("100001") as events:
        await events.until("surgery_resumed")
        await events.until("booked")
        await events.until("booked")


async def test_a_start_that_was_under_way_when_the_process_ended_is_given_up(daemon_on: DaemonOn) -> None:
    with SilentServer() as silent:
        cameras = {"cam-1": silent.url}
        async with daemon_on(cameras=cameras) as daemon:
            path = daemon.settings.database.ledger
            start = asyncio.create_task(daemon.start("100001", "cam-1"))
            await off_loop(silent.wait_for_client)
            await off_loop(_execute, path, "CREATE TABLE snapshot AS SELECT * FROM surgeries")
            await off_loop(_execute, path, "CREATE TABLE holds AS SELECT * FROM camera_holds")
            await daemon.end("100001")
            await start
        # As a power cut would have left it.
        await off_loop(_execute, path, "DELETE FROM surgeries")
        await off_loop(_execute, path, "INSERT INTO surgeries SELECT * FROM snapshot")
        await off_loop(_execute, path, "INSERT INTO camera_holds SELECT * FROM holds")
    async with daemon_on(cameras={"cam-1": "nothing"}) as daemon:
        assert captures() == set()
        assert (await daemon.get("100001")).status_code == 404
        await daemon.started("100002", "cam-1")


async def test_a_camera_that_left_the_configuration_does_not_keep_the_others_from_going_on(
    daemon_on: DaemonOn,
) -> None:
    async with daemon_on(cameras=TWO) as daemon:
        await daemon.started("100001", "cam-1", "cam-2")
    async with daemon_on(cameras={"cam-2": "gauzes"}) as daemon:
        await daemon.heard("100001", "booked")
        ready = await daemon.http.get("/ready")
        assert ready.status_code == 503
        assert not ready.json()["components"]["camera:cam-1"]["ok"]
        assert (await daemon.end("100001")).status_code == 200


async def test_two_cameras_of_one_surgery_count_one_item_once(daemon_on: DaemonOn, tmp_path: Path) -> None:
    lasting = str(film(tmp_path / "red.mp4", [(30, RED)]))
    async with daemon_on(cameras={"cam-1": lasting, "cam-2": lasting}) as daemon:
        await daemon.started("100001", "cam-1", "cam-2")
        async with daemon.events("100001") as events:
            booked, merged = await events.until("booked"), await events.until("merged")
        assert {booked["camera"], merged["camera"]} == {"cam-1", "cam-2"}
        assert merged["reason"] == f"same_as:{booked['camera']}"
        assert len((await daemon.get("100001/result")).json()["details"]) == 1


async def test_what_is_no_candidate_is_told_and_not_booked(daemon: Daemon) -> None:
    await daemon.started("100001", "gauze", candidates=["缝线", "石头"])
    ignored = await daemon.heard("100001", "ignored")
    assert (ignored["item_name"], ignored["reason"]) == ("纱布", "not_candidate")
    assert await daemon.ledger("100001") == []
    metrics = (await daemon.http.get("/metrics")).text
    assert 'orwatch_observations_total{outcome="ignored",reason="not_candidate"} 1.0' in metrics


async def test_a_start_mends_the_logs_of_surgeries_that_have_ended(daemon_on: DaemonOn) -> None:
    async with daemon_on() as daemon:
        await daemon.started("100001", "gauze")
        await daemon.heard("100001", "booked")
        assert (await daemon.end("100001")).status_code == 200
        (file,) = (daemon.settings.logs.folder / "consumption").glob("100001_*.tsv")
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    async with daemon_on():
        assert file.read_bytes() == whole
