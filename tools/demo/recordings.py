"""Film the two recordings of the demo and write their truth.

    python recordings.py OUT_FOLDER [--camera or-cam-01] [--still SECOND FILE.png]

The truth is taken from the same tracks that move the things: a piece is there from the first moment its middle is
inside the central square that the classifier sees until the last.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import yaml

import items
import props
import scene
from director import Appearance, Cover, Shift, Track, Visit, stage, visit
from sheet import Array, Lit, lit

WIDTH, HEIGHT, FPS, GOP = 1280, 720, 25, 25
BITRATE = 600_000
DRAW_PPC = 48.0
SHUTTER_STEPS = 6  # fewer show as ghosts where a hand is fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One camera's film: its view, its light, its sensor and what happens."""

    camera: str
    seed: int
    length_s: float
    span_cm: float
    tilt_deg: float
    yaw_deg: float
    light: tuple[float, float, float]
    cloth_hue: float
    warmth: float
    sensor: scene.Sensor
    flicker: float
    beat_hz: float  # what is left of the mains' 100 Hz at this shutter
    furniture: tuple[tuple[str, int, float, float, float], ...]  # prop, seed, x, y, angle: there all the time
    shows: tuple[Appearance, ...]
    visits: tuple[Visit, ...]

    @property
    def view(self) -> scene.Camera:
        return scene.Camera(
            width=WIDTH, height=HEIGHT, span_cm=self.span_cm, tilt_deg=self.tilt_deg, yaw_deg=self.yaw_deg
        )


ONE = Recording(
    camera="or-cam-01",
    seed=9001,
    length_s=74.0,
    span_cm=29,
    tilt_deg=24,
    yaw_deg=-12,
    light=(-0.45, -0.35, 1.0),
    cloth_hue=166,
    warmth=0.35,
    sensor=scene.Sensor(exposure=0.98, defocus_px=0.8, shot=0.0016, read=0.00003),
    flicker=0.015,
    beat_hz=1.7,
    furniture=(
        ("forceps", 41, -19.5, 1.0, 8),
        ("forceps", 42, -23.0, 0.0, -6),
        ("bowl", 43, 21.5, -6.0, 0),
        ("towel", 44, 22.0, 8.5, 12),
    ),
    shows=(
        Appearance(label="医用纱布块", seed=11, from_s=3.2, to_s=8.6, rest=(-1.5, 0.5), angle=14),
        Appearance(
            label="可吸收缝线",
            seed=12,
            from_s=12.2,
            to_s=18.6,
            rest=(-4.5, -2.0),
            angle=-28,
            side=60,
            shifts=(Shift(at_s=15.2, to=(3.5, 2.0)),),
            note="moved across the table",
        ),
        Appearance(
            label="一次性注射器",
            seed=13,
            from_s=22.0,
            to_s=29.4,
            rest=(0.5, 0.0),
            angle=32,
            side=80,
            covers=(Cover(from_s=24.8, to_s=26.6, offset=(-2.5, 1.5)),),
            note="half hidden by a hand",
        ),
        Appearance(label="外科手套", seed=14, from_s=33.0, to_s=38.0, rest=(0.0, -0.5), angle=-98, side=110),
        Appearance(label="手术刀片", seed=15, from_s=41.4, to_s=45.6, rest=(1.5, 1.0), angle=64),
        Appearance(
            label="手术刀片",
            seed=15,
            from_s=50.6,
            to_s=55.0,
            rest=(-2.5, -1.0),
            angle=20,
            note="left and came back after 4 s: a second consumption",
        ),
        Appearance(
            label="导尿管",
            seed=16,
            from_s=58.6,
            to_s=63.6,
            rest=(0.5, 0.5),
            angle=200,
            side=75,
            note="same_as: or-cam-02",
        ),
        Appearance(label="一次性电极板", seed=17, from_s=67.0, to_s=71.4, rest=(0.0, -1.5), angle=-20, side=65),
    ),
    visits=(Visit(from_s=46.9, to_s=49.6, place=(1.0, 2.0), side=100),),
)

TWO = Recording(
    camera="or-cam-02",
    seed=9002,
    length_s=74.0,
    span_cm=25.5,
    tilt_deg=36,
    yaw_deg=20,
    light=(0.5, -0.25, 1.0),
    cloth_hue=212,
    warmth=-0.45,
    sensor=scene.Sensor(exposure=0.86, defocus_px=1.05, shot=0.0034, read=0.00009),
    flicker=0.025,
    beat_hz=3.1,
    furniture=(("towel", 51, -21.0, -4.0, 80), ("marker", 52, 19.5, 4.0, 70), ("note", 53, 23.0, -9.0, 10)),
    shows=(
        Appearance(label="一次性电极板", seed=21, from_s=3.4, to_s=8.8, rest=(0.0, -1.0), angle=160, side=100),
        Appearance(
            label="钢碗",
            seed=22,
            from_s=12.4,
            to_s=16.6,
            rest=(-1.0, 0.0),
            prop="bowl",
            expect="nothing",
            note="a steel bowl, no consumable",
        ),
        Appearance(
            label="不可吸收缝线",
            seed=23,
            from_s=20.2,
            to_s=27.0,
            rest=(0.5, 0.0),
            angle=40,
            side=80,
            covers=(Cover(from_s=22.9, to_s=24.0, offset=(0.4, -5.0)),),
            note="almost all hidden by a hand for a second: still one",
        ),
        Appearance(
            label="可吸收缝线",
            seed=24,
            from_s=30.4,
            to_s=38.4,
            rest=(-1.0, 0.5),
            angle=-15,
            side=60,
            band=(249.0, 0.55),
            expect="ask",
            note="the band is bleached between violet and petrol: a person would ask, too",
        ),
        Appearance(
            label="医用纱布块",
            seed=25,
            from_s=42.0,
            to_s=47.6,
            rest=(-3.0, -1.0),
            angle=35,
            shifts=(Shift(at_s=44.4, to=(2.0, 1.0)),),
            note="moved",
        ),
        Appearance(label="一次性注射器", seed=26, from_s=51.0, to_s=55.6, rest=(0.0, 0.5), angle=-50, side=95),
        Appearance(
            label="导尿管",
            seed=16,
            from_s=59.8,
            to_s=64.6,
            rest=(0.0, 0.0),
            angle=310,
            side=70,
            note="same_as: or-cam-01",
        ),
        Appearance(label="外科手套", seed=27, from_s=68.0, to_s=72.0, rest=(0.0, 0.0), angle=8, side=85),
    ),
    visits=(),
)
RECORDINGS = (ONE, TWO)


class Film:
    """Renders the frames of one recording in order."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        rng = np.random.default_rng(recording.seed)
        self.table = scene.Table(rng, recording.view, recording.light, recording.cloth_hue, recording.warmth)
        self.ppc = recording.view.ppc * 1.1
        for name, seed, x, y, angle in recording.furniture:
            self.table.place(
                self.table.cloth, self._lit(props.DRAW[name](np.random.default_rng(seed), DRAW_PPC), angle), x, y
            )
        self.moving: list[tuple[Track, Lit]] = []
        self.hands: list[tuple[Track, Lit]] = []
        for show in recording.shows:
            piece, hands = stage(show)
            self.moving.append((piece, self._lit(_draw(show), show.angle)))
            glove = self._hand(recording.seed, show.side)
            self.hands += [(track, glove) for track in hands]
        self.hands += [(visit(call), self._hand(recording.seed, call.side)) for call in recording.visits]
        self.grain = [_grain(rng) for _ in range(4)]
        self.rng = rng

    def frames(self) -> Iterator[Array]:
        for index in range(round(self.recording.length_s * FPS)):
            yield self.frame(index)

    def frame(self, index: int) -> Array:
        recording, second = self.recording, index / FPS
        picture = self._still(second)
        gain = (
            1
            + recording.flicker * np.sin(2 * np.pi * recording.beat_hz * second)
            + 0.05 * np.sin(2 * np.pi * second / 31 + recording.seed)
        )
        sensor = replace(recording.sensor, exposure=recording.sensor.exposure * gain)
        dy, dx, which, flip = self.rng.integers([64, 64, len(self.grain), 2])
        grain = self.grain[which][dy : dy + HEIGHT, dx : dx + WIDTH] * (1.0 if flip else -1.0)
        return scene.expose(self.rng, picture, sensor, grain)

    def _still(self, second: float) -> Array:
        """The light on the sensor: a mean over the shutter time (1/50 s) where something moves."""
        shutter = [second + step / SHUTTER_STEPS / 50 for step in range(SHUTTER_STEPS)]
        if not any(_moves(track, shutter[0], shutter[-1]) for track, _ in self.moving + self.hands):
            shutter = shutter[:1]
        total = np.zeros_like(self.table.cloth)
        for moment in shutter:
            picture = self.table.cloth.copy()
            for track, thing in self.moving + self.hands:
                if (place := track.at(moment)) is not None:
                    self.table.place(picture, thing, place[0], place[1], lift_cm=place[2])
            total += picture
        return total * self.table.lamp / len(shutter)

    def _lit(self, sheet: items.Sheet, angle: float) -> Lit:
        return lit(sheet, angle, self.recording.light, self.ppc)

    def _hand(self, seed: int, side: float) -> Lit:
        # The drawing points up (its arm is at +90 degrees), so it is turned until the arm lies towards `side`.
        return self._lit(props.hand(np.random.default_rng(seed), 26.0), side - 90)


def truth(recording: Recording) -> dict[str, object]:
    """What is in the picture and when, in the words of the truth file."""
    present: list[dict[str, object]] = []
    others: list[dict[str, object]] = []
    for show in recording.shows:
        piece, _ = stage(show)
        inside = [
            index / FPS
            for index in range(round(recording.length_s * FPS))
            if _in_square(recording.view, piece.at(index / FPS))
        ]
        span = {"from_s": round(inside[0], 2), "to_s": round(inside[-1], 2)}
        note = {"note": show.note} if show.note else {}
        if show.expect == "nothing":
            others.append({**span, **note})
        else:
            present.append({"label": show.label, **span, "expect": show.expect, **note})
    others += [{"from_s": call.from_s, "to_s": call.to_s, "note": call.note} for call in recording.visits]
    return {"camera": recording.camera, "items": present, "distractors": others}


def fusions() -> list[dict[str, object]]:
    """Pieces that both cameras see at the same time: one consumption of the surgery."""
    first, second = truth(ONE)["items"], truth(TWO)["items"]
    pairs = [(a, b) for a in first for b in second if a["label"] == b["label"] and abs(a["from_s"] - b["from_s"]) <= 5]  # type: ignore[attr-defined, index]
    return [
        {"label": a["label"], "cameras": {ONE.camera: {"from_s": a["from_s"]}, TWO.camera: {"from_s": b["from_s"]}}}
        for a, b in pairs
    ]


def film(recording: Recording, path: Path) -> None:
    """Encode one recording as H.264, a key frame a second, no B-frames, as an IP camera does."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size, stream.max_b_frames = BITRATE, GOP, 0
        stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = {
            "preset": "veryfast",
            "threads": "1",
            "sc_threshold": "0",
            "keyint_min": str(GOP),
            "maxrate": str(BITRATE * 3 // 2),
            "bufsize": str(BITRATE * 2),
        }
        for index, rgb in enumerate(Film(recording).frames()):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _grain(rng: items.Rng) -> Array:
    """Unit noise, larger than a frame; weaker in colour than in brightness, as a camera's own filter leaves it."""
    field = rng.standard_normal((HEIGHT + 64, WIDTH + 64, 3), np.float32)
    return (field + field.mean(axis=2, keepdims=True) * 1.4) * 0.5


def _draw(show: Appearance) -> items.Sheet:
    rng = np.random.default_rng(show.seed)
    if show.prop is not None:
        return props.DRAW[show.prop](rng, DRAW_PPC)
    if show.band is not None:
        return items.suture(rng, DRAW_PPC, *show.band)
    return items.DRAW[show.label](rng, DRAW_PPC)


def _moves(track: Track, start: float, end: float) -> bool:
    return track.at(start) != track.at(end)


def _in_square(view: scene.Camera, place: tuple[float, float, float] | None) -> bool:
    if place is None:
        return False
    u, v, depth = view.matrix(place[2]) @ np.array([place[0], place[1], 1.0])
    return bool(abs(u / depth - WIDTH / 2) < HEIGHT / 2 and 0 < v / depth < HEIGHT)


def _film_one(job: tuple[Recording, Path]) -> str:
    cv2.setNumThreads(1)
    recording, folder = job
    began = time.monotonic()
    path = folder / f"{recording.camera}.mp4"
    film(recording, path)
    return f"{path.name}: {path.stat().st_size / 1e6:.2f} MB in {time.monotonic() - began:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--camera", help="film only this one")
    parser.add_argument("--still", nargs=2, metavar=("SECOND", "FILE"), help="write one uncompressed frame instead")
    args = parser.parse_args()
    chosen = [recording for recording in RECORDINGS if args.camera in (None, recording.camera)]
    if args.still:
        for recording in chosen:
            picture = Film(recording).frame(round(float(args.still[0]) * FPS))
            cv2.imwrite(f"{args.still[1]}.{recording.camera}.png", picture[..., ::-1])
        return
    sheet = {
        "recordings": {f"{recording.camera}.mp4": truth(recording) for recording in RECORDINGS},
        "fusions": fusions(),
    }
    (args.out / "truth.yaml").write_text(
        yaml.safe_dump(sheet, allow_unicode=True, sort_keys=False, width=120), encoding="utf-8"
    )
    with multiprocessing.Pool(len(chosen)) as pool:
        for line in pool.imap(_film_one, [(recording, args.out) for recording in chosen]):
            print(line)


if __name__ == "__main__":
    main()
