"""Cameras that die, freeze, come back or never answer: seen at once, mended by themselves, felt by nobody else."""

from collections.abc import Callable

from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera, SilentServer


def test_a_camera_killed_and_one_frozen_come_back_and_the_other_never_notices(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    failing, steady = rtsp(ASSETS / "or-cam-01.mp4"), rtsp(ASSETS / "or-cam-02.mp4")
    orwatch = program(cameras={"or-cam-01": failing.url, "or-cam-02": steady.url})
    assert orwatch.begin("123456", ["or-cam-01", "or-cam-02"]).status_code == 200

    def is_down() -> bool:
        component = orwatch.component("camera:or-cam-01")
        return component is not None and not component["ok"]

    for name, break_it, mend_it in (
        ("killed", failing.kill, failing.start),
        ("frozen", failing.freeze, failing.thaw),
        ("cut off", failing.suspend, failing.resume),
    ):
        break_it()
        seen_s = orwatch.until(is_down)
        steady_before, failing_before = orwatch.classified("or-cam-02"), orwatch.classified("or-cam-01")
        orwatch.until(lambda before=steady_before: orwatch.classified("or-cam-02") >= before + 4)
        other = orwatch.component("camera:or-cam-02")
        assert other is not None
        assert other["ok"]
        mend_it()
        back_s = orwatch.until(lambda before=failing_before: not is_down() and orwatch.classified("or-cam-01") > before)
        print(f"{name}: seen after {seen_s:.2f} s, back {back_s:.2f} s after it was mended")
    log = orwatch.log.read_text()
    # Said once when it breaks and once when it is back.
    assert log.count("camera or-cam-01: ") == 3
    assert "camera or-cam-02: " not in log
    assert orwatch.end("123456").status_code == 200


def test_a_surgery_with_a_camera_that_never_answers_does_not_start_and_leaves_nothing(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    steady = rtsp(ASSETS / "or-cam-02.mp4")
    with SilentServer() as silent:
        orwatch = program(
            cameras={"or-cam-01": silent.url, "or-cam-02": steady.url},
            more="[surgery]\nstart_timeout_s = 10\nstart_attempts = 1\n",
        )
        refused = orwatch.begin("123456", ["or-cam-01", "or-cam-02"])
        assert (refused.status_code, refused.json()["detail"]["code"]) == (503, "RECORDING_CANNOT_START")
        assert refused.json()["detail"]["camera_ids"] == ["or-cam-01"]
        print(refused.text)
        assert orwatch.component("camera:or-cam-02") is None
        # The steady camera is free again, and the same id can start without the silent one.
        assert orwatch.begin("123456", ["or-cam-02"]).status_code == 200


def test_a_wrong_password_is_refused_at_once_and_tried_once(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    locked = rtsp(ASSETS / "or-cam-01.mp4", user="ops", password="right")
    orwatch = program(cameras={"or-cam-01": locked.url.replace("right", "wrong")})
    refused = orwatch.begin("123456", ["or-cam-01"])
    assert (refused.status_code, refused.json()["detail"]["code"]) == (503, "RECORDING_CANNOT_START")
    assert "口令" in refused.json()["detail"]["message"]
    assert "wrong" not in refused.text + orwatch.log.read_text()


def test_a_terminated_daemon_ends_no_surgery_and_goes_on_after_the_next_start(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    camera = rtsp(ASSETS / "or-cam-01.mp4")
    orwatch = program(cameras={"or-cam-01": camera.url})
    assert orwatch.begin("123456", ["or-cam-01"]).status_code == 200
    assert orwatch.stop() == 0
    orwatch.start()
    orwatch.until(lambda: orwatch.classified("or-cam-01") >= 2)
    assert orwatch.client.get("/client/surgeries/123456").json()["state"] == "running"
    assert orwatch.begin("123456", ["or-cam-01"]).status_code == 200
    orwatch.kill()
    orwatch.start()
    orwatch.until(lambda: orwatch.classified("or-cam-01") >= 2)
    assert orwatch.end("123456").status_code == 200
