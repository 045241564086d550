"""The whole program killed while it owes results to a receiver that is away: each arrives, none after it was taken.

`bash scripts/test -m soak -s tests/journeys/test_retina_kill.py` keeps the receiver away for two minutes.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import oct as scans
from tests.daemon.imaging.retina import SECRET, slice_of, told
from tests.journeys.program import Program
from tests.servers.kserve import GrpcServer, Rack
from tests.servers.webhooks import Fault, WebhookServer


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[GrpcServer]:
    with GrpcServer(Rack({"oct": scans.model(tmp_path / "oct.onnx")})) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    with WebhookServer(SECRET) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, triton: GrpcServer, receiver: WebhookServer) -> Iterator[Program]:
    more = f"""
[speech]
tts = []
asr = []
[imaging.retina]
server_url = "{triton.url}"
model_name = "oct"
labels = ["dark", "bright"]
webhook_hosts = ["{receiver.host}"]
webhook_secret = "{SECRET}"
webhook_timeout_s = 60.0
"""
    with Program(tmp_path, cameras={}, more=more) as running:
        yield running


def invoke(program: Program, receiver: WebhookServer, path: Path, examination: str) -> str:
    answer: httpx.Response = program.client.post(
        "/invocations",
        headers={"Webhook-Url": receiver.url, "Examination-ID": examination},
        files={"image": (path.name, path.read_bytes())},
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["request_uuid"])


def states(program: Program, ids: list[str]) -> list[str]:
    found = []
    for job_id in ids:
        rows = program.client.get(f"/imaging/jobs/{job_id}/deliveries").json()["deliveries"]
        found += [row["state"] for row in rows]
    return found


@pytest.mark.parametrize("away_s", [0.0, pytest.param(120.0, marks=pytest.mark.soak)], ids=["short", "two minutes"])
def test_killed_while_the_receiver_is_away_each_result_arrives_once_and_in_order(
    program: Program, receiver: WebhookServer, tmp_path: Path, away_s: float
) -> None:
    taken = invoke(program, receiver, slice_of(tmp_path, "before.png"), "E-0")
    receiver.wait(1)
    program.until(lambda: states(program, [taken]) == ["delivered"])
    receiver.down()
    went_away_s = time.monotonic()
    ids = [invoke(program, receiver, slice_of(tmp_path, f"{n}.png", 20 * n), f"E-{n % 2}") for n in range(1, 7)]
    program.until(lambda: states(program, ids) == ["ready"] * 6)

    program.kill()
    program.start()
    program.goes_on(max(0.0, went_away_s + away_s - time.monotonic()))
    assert states(program, ids) == ["ready"] * 6
    receiver.up()
    deliveries = receiver.wait(7, within_s=330.0)
    program.until(lambda: states(program, ids) == ["delivered"] * 6)

    came = [body["request_uuid"] for body in told(deliveries)]
    assert sorted(came) == sorted([taken, *ids])
    for parity in (0, 1):
        assert [job_id for job_id in came if job_id in ids[parity::2]] == ids[parity::2]
    assert len({delivery.headers["x-orwatch-delivery"] for delivery in deliveries}) == 7
    attempts = [int(delivery.headers["x-orwatch-attempt"]) for delivery in deliveries]
    print(
        f"receiver away {time.monotonic() - went_away_s:.0f} s, one SIGKILL: 7 results, each once; attempts {attempts}"
    )


def test_killed_in_an_attempt_it_is_made_again_under_the_same_number(
    program: Program, receiver: WebhookServer, tmp_path: Path
) -> None:
    receiver.next(Fault(how="stall"))
    job_id = invoke(program, receiver, slice_of(tmp_path, "a.png"), "E-1")
    receiver.wait(1)

    program.kill()
    program.start()

    first, second = receiver.wait(2)
    assert told([first, second])[1]["request_uuid"] == job_id
    assert first.headers["x-orwatch-delivery"] == second.headers["x-orwatch-delivery"]
    program.until(lambda: states(program, [job_id]) == ["delivered"])
    assert len(receiver.deliveries) == 2


@pytest.mark.parametrize("step", ["infer", "answer"])
def test_killed_at_work_the_job_goes_on(
    program: Program, triton: GrpcServer, receiver: WebhookServer, tmp_path: Path, step: str
) -> None:
    triton.rack.fault = "stall"
    path = slice_of(tmp_path, "a.png")
    job_id = invoke(program, receiver, path, "E-1")
    if step == "infer":
        program.until(triton.rack.arrived.is_set)

    program.kill()
    triton.rack.fault = ""
    triton.rack.released.set()
    program.start()

    [delivery] = receiver.wait(1)
    [body] = told([delivery])
    assert (body["request_uuid"], body["status"]) == (job_id, "success")
