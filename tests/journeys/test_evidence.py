"""What the cameras showed when something was booked or asked: a picture and a clip of that very moment, to be fetched.

The recordings have the noise of a sensor, so every frame of theirs is known again: by its pixels in a clip, which is
as the camera sent it, and as the nearest one in a picture, which is a JPEG of it.
"""

import csv
import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

import av
import cv2
import httpx
import numpy as np
import numpy.typing as npt
import pytest

from inference.truth import TruthItem, load_truth
from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera
from tests.streams.clips import encode
from tests.waiting import DEADLINE_S

# One question and one booking of the second recording, in H.265 and of another size than the first.
PART_S = (28, 50)
PART_SIZE = (640, 360)
# So much of the first recording is watched.
FIRST_S = 32
SMALL = (160, 90)
# A JPEG of a frame is nearer to it than any frame that was filmed this much earlier or later.
NEXT_S = 0.5
TOLERANCE_S = 0.5
Pixels = npt.NDArray[np.uint8]


class Film:
    """What a camera shows, frame by frame, and where a picture or a clip stands in it."""

    def __init__(self, path: Path, *, until_s: float) -> None:
        self._index: dict[bytes, int] = {}
        small = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.fps = float(stream.average_rate or 0)
            for index, frame in enumerate(container.decode(stream)):
                if index >= until_s * self.fps:
                    break
                self._index[_known_by(frame)] = index
                # As a JPEG has it: the light of video is of another range, and of other colours.
                small.append(_small(cv2.cvtColor(frame.to_ndarray(format="bgr24"), cv2.COLOR_BGR2GRAY)))
                self.size = (frame.width, frame.height)
        self._small = np.stack(small)
        assert len(self._index) == len(small), "two frames are the same: they could not be told apart"

    def of_picture(self, jpeg: bytes) -> int:
        """The frame that it shows; it must be clearly that one, not one of another time."""
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None, "it is no picture"
        assert pixels.shape[::-1] == self.size
        away = np.abs(self._small - _small(pixels)).mean(axis=(1, 2))
        best = int(away.argmin())
        around = np.abs(np.arange(len(away)) - best) <= NEXT_S * self.fps
        assert away[best] < away[~around].min() / 2
        return best

    def of_clip(self, mp4: bytes) -> range:
        """The frames that it plays: all of a stretch, each as the camera sent it."""
        with av.open(io.BytesIO(mp4)) as container:
            frames = list(container.decode(video=0))
        played = [self._index.get(_known_by(frame)) for frame in frames]
        assert None not in played, f"frames that no camera showed: {played}"
        stretch = range(played[0] or 0, (played[-1] or 0) + 1)
        assert played == list(stretch)
        at = [float(frame.pts * frame.time_base) for frame in frames if frame.pts is not None and frame.time_base]
        assert np.allclose(np.diff(at), 1 / self.fps, atol=0.01)
        return stretch


def _known_by(frame: av.VideoFrame) -> bytes:
    return hashlib.blake2b(frame.to_ndarray(format="yuv420p").tobytes()).digest()


def _small(gray: Pixels) -> npt.NDArray[np.float32]:
    return cv2.resize(gray, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)


@pytest.fixture
def part_in_h265(tmp_path: Path) -> Path:
    first_s, last_s = PART_S

    def pictures() -> Iterator[Pixels]:
        with av.open(str(ASSETS / "or-cam-02.mp4")) as recording:
            recording.seek(first_s * av.time_base)
            for frame in recording.decode(video=0):
                if frame.time >= last_s:
                    return
                if frame.time >= first_s:
                    yield frame.to_ndarray(format="rgb24", width=PART_SIZE[0], height=PART_SIZE[1])

    # Coarser, and it would leave out the noise, and frames would be the same.
    return encode(tmp_path / "part.mp4", pictures(), codec="libx265", options={"crf": "18"})


def test_every_booking_and_every_question_has_a_picture_and_a_clip_of_its_moment(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program], part_in_h265: Path
) -> None:
    films = {
        "or-cam-01": Film(ASSETS / "or-cam-01.mp4", until_s=FIRST_S),
        "or-cam-02": Film(part_in_h265, until_s=FIRST_S),
    }
    cameras = {
        "or-cam-01": rtsp(ASSETS / "or-cam-01.mp4", loop=False),
        "or-cam-02": rtsp(part_in_h265, loop=False),
    }
    orwatch = program(cameras={name: camera.url for name, camera in cameras.items()})
    assert orwatch.begin("123456", list(cameras)).status_code == 200

    def lines() -> list[dict[str, str]]:
        report = orwatch.client.get("/client/surgeries/123456/report.tsv").text
        rows = csv.DictReader(io.StringIO(report), delimiter="\t")
        return [row for row in rows if row["status"] in ("已记账", "待确认", "已确认")]

    def enough() -> bool:
        found = Counter(line["status"] for line in lines())
        return found["已记账"] >= 3 and found["待确认"] >= 1

    orwatch.until(enough, deadline_s=FIRST_S + DEADLINE_S)
    (question,) = orwatch.client.get("/client/surgeries/123456").json()["questions"]
    answered = orwatch.client.post(
        f"/client/surgeries/123456/pending-confirmation/{question['confirmation_id']}/choose",
        json={"label": "可吸收缝线", "doctor_id": "N2001"},
    )
    assert answered.status_code == 200, answered.text
    # Some clips are not at their end yet: they are made of what there is.
    assert orwatch.end("123456").status_code == 200

    postings = orwatch.client.get("/client/surgeries/123456/ledger").json()["postings"]
    page = orwatch.client.get("/client/surgeries/123456/report.md").text
    written = {line["evidence"]: line for line in lines()}
    by_sighting = {UUID(key.rpartition("/")[2].removesuffix(".jpg")): key for key in written}
    assert {UUID(row["sighting_id"]) for row in postings} == set(by_sighting)
    truth = load_truth(ASSETS / "truth.yaml")
    for sighting_id, key in by_sighting.items():
        line = written[key]
        assert key in page
        film, camera = films[line["camera"]], cameras[line["camera"]]
        shown = film.of_picture(fetched(orwatch, sighting_id, "jpg"))
        played = film.of_clip(fetched(orwatch, sighting_id, "mp4"))
        began_mono_s = datetime.fromisoformat(line["time"]).timestamp() - time.time() + time.monotonic()
        _, began_s = camera.shown(began_mono_s)
        print(
            line["camera"], line["status"], line["item_name"], f"from {began_s:.2f} s, picture {shown}, clip {played}"
        )
        assert played.start / film.fps <= began_s <= shown / film.fps + TOLERANCE_S
        assert played.start < shown < played.stop - 1, "the clip ends before the moment, or begins after it"
        first_s = PART_S[0] if line["camera"] == "or-cam-02" else 0
        items = truth.recordings[f"{line['camera']}.mp4"].items
        assert any(is_of(item, line, first_s + shown / film.fps) for item in items), line
    assert "Traceback" not in orwatch.log.read_text()


def is_of(item: TruthItem, line: dict[str, str], at_s: float) -> bool:
    return item.label in (line["top1"], line["top2"]) and item.from_s <= at_s <= item.to_s


def fetched(orwatch: Program, sighting_id: UUID, ending: str) -> bytes:
    """As soon as it is there."""
    found: list[httpx.Response] = []

    def is_there() -> bool:
        found[:] = [orwatch.client.get(f"/client/surgeries/123456/evidence/{sighting_id}.{ending}")]
        assert found[0].status_code in (200, 404), found[0].text
        return found[0].status_code == 200

    orwatch.until(is_there)
    assert found[0].headers["content-type"] == {"jpg": "image/jpeg", "mp4": "video/mp4"}[ending]
    return found[0].content
