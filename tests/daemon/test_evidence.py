"""A booking in a running daemon has its picture and its clip, and a full disk stops neither bookings nor the daemon."""

import io
from pathlib import Path

import av
import cv2
import numpy as np

from tests.daemon.conftest import DaemonOn


async def test_a_booking_has_a_picture_and_a_clip_that_shows_it(daemon_on: DaemonOn) -> None:
    async with daemon_on() as daemon:
        await daemon.started("100001", "gauze_stays")
        async with daemon.events("100001") as events:
            booked = await events.until("booked")
            stored = {(await events.until("object_stored"))["evidence"] for _ in range(2)}
        picture = booked["evidence"]
        assert stored == {picture, picture.replace(".jpg", ".mp4")}
        path = f"100001/evidence/{booked['sighting_id']}"
        jpeg, film = await daemon.get(f"{path}.jpg"), await daemon.get(f"{path}.mp4")
        assert (jpeg.status_code, jpeg.headers["content-type"]) == (200, "image/jpeg")
        assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
        part = await daemon.get(f"{path}.mp4", headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, b"ftyp")
        pixels = cv2.imdecode(np.frombuffer(jpeg.content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert is_red(pixels[:, :, ::-1])
        with av.open(io.BytesIO(film.content)) as container:
            assert any(is_red(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0))
        ready = (await daemon.http.get("/ready")).json()["components"]
        assert ready["objects"]["ok"]


async def test_evidence_is_shown_to_who_may_read_and_in_its_own_room_only(daemon_on: DaemonOn, tmp_path: Path) -> None:
    roles = {"his": "his", "ward": "nurse", "ops": "admin", "room1": "nurse", "room2": "admin"}
    keys = {name: f"key-of-{name}-0123456789" for name in roles}
    rooms = {"room1": 'rooms = ["or-1"]', "room2": 'rooms = ["or-2"]'}
    entries = [
        f'[[keys]]\nname = "{name}"\nrole = "{role}"\nkey = "{keys[name]}"\n{rooms.get(name, "")}\n'
        for name, role in roles.items()
    ]
    (tmp_path / "keys.toml").write_text("".join(entries), encoding="utf-8")
    (tmp_path / "keys.toml").chmod(0o600)
    guarded = {
        "auth": {"keys_file": str(tmp_path / "keys.toml")},
        "cameras": {"cam-1": "gauze_stays", "cam-2": "nothing"},
        "rooms": {"or-1": {"cameras": ["cam-1"]}, "or-2": {"cameras": ["cam-2"]}},
    }
    async with daemon_on(headers={"X-API-Key": keys["ops"]}, **guarded) as daemon:
        await daemon.started("100001", "cam-1")
        async with daemon.events("100001", headers={"X-API-Key": keys["his"]}) as events:
            booked = await events.until("booked")
            for _ in range(2):
                await events.until("object_stored")
        del daemon.http.headers["X-API-Key"]
        for ending in ("jpg", "mp4"):
            path = f"/client/surgeries/100001/evidence/{booked['sighting_id']}.{ending}"
            for name, key in keys.items():
                answer = await daemon.http.get(path, headers={"X-API-Key": key})
                assert answer.status_code == (403 if name == "room2" else 200), name
                assert ("application/json" in answer.headers["content-type"]) is (name == "room2"), name
            assert (await daemon.http.get(path)).status_code == 401


async def test_a_folder_that_cannot_be_written_stops_no_booking(daemon_on: DaemonOn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = {"objects": {"folder": str(tmp_path / "file" / "objects")}}
    async with daemon_on(**blocked) as daemon:
        await daemon.started("100001", "gauzes")
        async with daemon.events("100001") as events:
            first, second = await events.until("booked"), await events.until("booked")
        assert first["posting_id"] != second["posting_id"]
        jpeg = await daemon.get(f"100001/evidence/{first['sighting_id']}.jpg")
        assert jpeg.status_code == 200, "it waits in the spool"
        ready = await daemon.http.get("/ready")
        assert ready.status_code == 503
        assert not ready.json()["components"]["objects"]["ok"]


async def test_without_evidence_nothing_is_promised(daemon_on: DaemonOn, tmp_path: Path) -> None:
    async with daemon_on(objects={"evidence": False}) as daemon:
        await daemon.started("100001", "gauze")
        booked = await daemon.heard("100001", "booked")
    assert booked["evidence"] is None
    assert not list((tmp_path / "objects").rglob("*.jpg"))


def is_red(rgb: np.ndarray) -> bool:
    red, green, blue = rgb[:, 24:].reshape(-1, 3).mean(axis=0)
    return bool(red > 150 and green < 80 and blue < 80)
