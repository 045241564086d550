"""The OCT engine against a KServe-v2 server with a real model behind it, over gRPC and over HTTP, and without one."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from imaging.errors import Failed, ImagingError, InputInvalid, NotConfigured, Refused, Unclear, Unreachable
from imaging.retina.analysis import Retina, RetinaRules
from imaging.retina.parameters import parse_parameters
from tests import rules
from tests.oct import LABELS, b_scan, decoders, jpeg_volume, model, picture, volume
from tests.servers.kserve import GrpcServer, HttpServer, Rack
from tests.waiting import DEADLINE_S

LATE_S = 1.0
SERVERS = {"grpc": GrpcServer, "http": HttpServer}
FRAMES = np.random.default_rng(5).integers(0, 256, (11, 61, 97), np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "oct": model(folder / "oct.onnx", gives=("scores", "maps")),
        "scores": model(folder / "scores.onnx"),
        "rgb": model(folder / "rgb.onnx", channels=3),
        "three": model(folder / "three.onnx", labels=3),
        "fixed": model(folder / "fixed.onnx", batch=4),
    }


@pytest.fixture
def rack(models: dict[str, Path]) -> Rack:
    return Rack(models)


@pytest.fixture(params=["grpc", "http"])
def server(request: pytest.FixtureRequest, rack: Rack) -> Iterator[GrpcServer | HttpServer]:
    with SERVERS[request.param](rack) as running:
        yield running


def rules_for(server: GrpcServer | HttpServer, **changes: Any) -> RetinaRules:
    known = rules.retina(
        server_url=server.url,
        protocol="grpc" if isinstance(server, GrpcServer) else "http",
        model_name="scores",
        labels=LABELS,
        timeout_s=20.0,
        connect_timeout_s=5.0,
    )
    return replace(known, **changes)


def engine(asked: RetinaRules) -> Retina:
    return Retina(asked, off_loop=asyncio.to_thread)


async def analysed(asked: RetinaRules, path: Path, into: Path, told: list[float] | None = None, **keys: Any) -> Any:
    """The result, as it would be read from JSON."""

    def progress(part: float, _text: str) -> None:
        if told is not None:
            told.append(part)

    async with engine(asked) as retina:
        found = await retina.analyse(path, parse_parameters(json.dumps(keys)), into=into, progress=progress)
    return json.loads(json.dumps(found, allow_nan=False))


# --- what is found ---


async def test_one_image_is_judged(server: GrpcServer | HttpServer, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", b_scan(97, 61, background=51))
    told: list[float] = []
    found = await analysed(rules_for(server), path, tmp_path, told, slice_idx=46)

    assert found == {
        "width": 97,
        "height": 61,
        "slices": 1,
        "pixel_spacing": None,
        "model": {"name": "scores", "version": "3"},
        "low_confidence_p": 0.1,
        "findings": [
            {"label": "dark", "probability": pytest.approx(0.8, abs=1e-5), "slice_idx": 46, "zone": "full"},
            {"label": "bright", "probability": pytest.approx(0.2, abs=1e-5), "slice_idx": 46, "zone": "full"},
        ],
        "zones": [
            {
                "slice_idx": 46,
                "zone": "full",
                "left": 0,
                "right": 97,
                "mm": None,
                "probabilities": {
                    "dark": pytest.approx(0.8, abs=1e-5),
                    "bright": pytest.approx(0.2, abs=1e-5),
                },
                "mask": None,
            }
        ],
    }
    assert told == [1.0]


async def test_a_volume_is_judged_slice_by_slice_and_in_order(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    frames = np.stack([b_scan(97, 61, background=20 * number) for number in range(11)])
    path = volume(tmp_path / "v.dcm", frames, spacing_mm=(0.004, 0.06))
    told: list[float] = []
    keys = {"mm_crop_zone": 3, "nerve_zone_landmarks": [[40, 50]], "nerve_zone_slice_indices": [2]}
    found = await analysed(rules_for(server, batch_max=4), path, tmp_path, told, **keys)

    places = [(zone["slice_idx"], zone["zone"]) for zone in found["zones"]]
    assert places == [(0, "center"), (1, "center"), (2, "center"), (2, "nerve"), *((n, "center") for n in range(3, 11))]
    for zone in found["zones"]:
        assert zone["probabilities"]["bright"] == pytest.approx(20 * zone["slice_idx"] / 255, abs=0.003)
    assert [(zone["left"], zone["right"], zone["mm"]) for zone in found["zones"][2:4]] == [
        (24, 74, 3.0),
        (23, 67, 2.64),
    ]
    assert found["pixel_spacing"] == {"row": 0.004, "column": 0.06}
    assert (found["findings"][0]["label"], found["findings"][0]["slice_idx"]) == ("dark", 0)
    assert (found["findings"][1]["label"], found["findings"][1]["slice_idx"]) == ("bright", 10)
    assert sorted(rack.batches) == [4, 4, 4]
    assert told == sorted(told)
    assert told[-1] == 1.0


async def test_only_the_slices_asked_for_are_judged(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES)
    found = await analysed(rules_for(server), path, tmp_path, slice_idx=[9, 4])

    assert [zone["slice_idx"] for zone in found["zones"]] == [4, 9]
    for zone in found["zones"]:
        assert zone["probabilities"]["bright"] == pytest.approx(FRAMES[zone["slice_idx"]].mean() / 255, abs=0.02)
    assert rack.batches == [2]


async def test_requests_meet_at_the_server_and_are_never_more_than_allowed(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.meet = 3
    path = volume(tmp_path / "v.dcm", FRAMES)
    await analysed(rules_for(server, batch_max=1, requests_max=3), path, tmp_path)

    assert (rack.requests, rack.together_max) == (11, 3)


async def test_a_label_below_the_threshold_is_no_finding(server: GrpcServer | HttpServer, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", b_scan(background=51))
    found = await analysed(rules_for(server), path, tmp_path, low_confidence_p=0.5)

    assert [each["label"] for each in found["findings"]] == ["dark"]
    assert set(found["zones"][0]["probabilities"]) == set(LABELS)


async def test_the_server_is_asked_for_no_more_pictures_than_it_takes(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.max_batch_size = 3
    await analysed(rules_for(server), volume(tmp_path / "v.dcm", FRAMES), tmp_path)

    assert sorted(rack.batches) == [2, 3, 3, 3]


async def test_a_server_without_tritons_extension_will_do(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.fault = "no_config"
    await analysed(rules_for(server), volume(tmp_path / "v.dcm", FRAMES), tmp_path)

    assert sorted(rack.batches) == [3, 8]


async def test_numbers_instead_of_raw_bytes_are_read(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.fault = "typed"
    found = await analysed(rules_for(server), picture(tmp_path / "a.png", b_scan(background=51)), tmp_path)

    assert found["zones"][0]["probabilities"]["dark"] == pytest.approx(0.8, abs=1e-5)


async def test_a_model_of_a_fixed_batch_is_filled_up(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.max_batch_size = 0
    found = await analysed(rules_for(server, model_name="fixed"), volume(tmp_path / "v.dcm", FRAMES), tmp_path)

    assert rack.batches == [4, 4, 4]
    assert len(found["zones"]) == 11


async def test_a_model_of_three_channels_gets_the_grey_in_each_normalised(
    server: GrpcServer | HttpServer, tmp_path: Path
) -> None:
    path = picture(tmp_path / "a.png", b_scan(background=51))
    chosen = rules_for(server, model_name="rgb", mean=(0.1, 0.2, 0.0), std=(0.5, 1.0, 1.0), model_version="3")
    found = await analysed(chosen, path, tmp_path)

    # The mean of (0.2 - 0.1) / 0.5, (0.2 - 0.2) / 1 and 0.2.
    assert found["zones"][0]["probabilities"]["bright"] == pytest.approx(0.4 / 3, abs=1e-5)
    assert found["model"] == {"name": "rgb", "version": "3"}


# --- maps ---


async def test_a_map_becomes_a_mask_in_the_pixels_of_the_picture(
    server: GrpcServer | HttpServer, tmp_path: Path
) -> None:
    grey = b_scan(96, 64, background=0)
    grey[16:48, 48:] = 255
    path = picture(tmp_path / "a.png", grey)
    keys = {"scan_width": 9.6, "mm_crop_zone": 4.8, "pixel_spacing_row": 0.05}
    found = await analysed(rules_for(server, model_name="oct"), path, tmp_path, **keys)

    (zone,) = found["zones"]
    assert (zone["left"], zone["right"], zone["mask"], zone["mm"]) == (24, 72, "mask_0001.png", 4.8)
    mask = cv2.imread(str(tmp_path / "mask_0001.png"), cv2.IMREAD_UNCHANGED)
    assert (mask.shape, mask.dtype) == ((64, 48), np.uint8)
    expected = np.where(grey[:, 24:72] == 255, 2, 1)
    assert (mask != expected).mean() < 0.05
    bright = zone["areas"]["bright"]
    assert bright["pixels"] == (mask == 2).sum()
    assert bright["mm2"] == pytest.approx(bright["pixels"] * 0.05 * 0.1, abs=1e-5)
    assert np.abs(np.array(bright["box"]) - [48, 16, 72, 48]).max() <= 2
    assert zone["areas"]["dark"]["box"] == [24, 0, 72, 64]


async def test_the_cut_that_the_model_sees_lies_within_a_pixel_of_the_millimetres(tmp_path: Path) -> None:
    width, height = 301, 32
    spacing, mm, middle = 6.0 / width, 2.0, 97.0
    edges = [middle - mm / 2 / spacing, middle + mm / 2 / spacing]
    columns = np.arange(width)
    grey = np.tile(np.where((columns >= edges[0]) & (columns < edges[1]), 255, 0).astype(np.uint8), (height, 1))
    wide = round(mm / spacing)
    local = rules.retina(
        model_path=model(tmp_path / "m.onnx", gives=("maps",), height="h", width="w"),
        labels=LABELS,
        device="cpu",
        width=wide,
        height=height,
    )
    keys = {"scan_width": 6.0, "mm_crop_zone": mm, "center_coordinates": [middle, 0]}
    found = await analysed(local, picture(tmp_path / "a.png", grey), tmp_path, **keys)

    (zone,) = found["zones"]
    assert abs(zone["left"] - edges[0]) <= 1
    assert abs(zone["right"] - edges[1]) <= 1
    left, _, right, _ = zone["areas"]["bright"]["box"]
    assert left - zone["left"] <= 1
    assert zone["right"] - right <= 1
    assert zone["areas"].get("dark", {"pixels": 0})["pixels"] <= 2 * height


async def test_a_first_channel_for_none_of_the_labels_is_nothing_in_the_mask(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[0, 128, 255]], np.uint8), 32, axis=1).repeat(16, axis=0)
    local = rules.retina(
        model_path=model(tmp_path / "m.onnx", gives=("maps",), background=True, height=16, width=96),
        labels=LABELS,
        device="cpu",
    )
    found = await analysed(local, picture(tmp_path / "a.png", grey), tmp_path)

    mask = cv2.imread(str(tmp_path / "mask_0001.png"), cv2.IMREAD_UNCHANGED)
    assert (mask[8, 8], mask[8, 48], mask[8, 88]) == (1, 0, 2)
    assert found["zones"][0]["probabilities"] == {"dark": 1.0, "bright": 1.0}


async def test_an_analysis_that_fails_leaves_no_mask(server: GrpcServer | HttpServer, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    path = jpeg_volume(tmp_path / "v.dcm", FRAMES, broken=9)
    written: list[int] = []

    async with engine(rules_for(server, model_name="oct", batch_max=1, requests_max=1)) as retina:
        with pytest.raises(InputInvalid, match="已损坏"):
            await retina.analyse(
                path, parse_parameters(""), into=into, progress=lambda *_: written.append(len(list(into.iterdir())))
            )
    assert max(written) == 9
    assert list(into.iterdir()) == []


# --- a local model ---


async def test_a_local_model_gives_what_the_server_gives(
    server: GrpcServer | HttpServer, models: dict[str, Path], tmp_path: Path
) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES)
    far = await analysed(rules_for(server, model_name="oct"), path, tmp_path)
    here = await analysed(rules.retina(model_path=models["oct"], labels=LABELS, device="cpu"), path, tmp_path)

    assert here["zones"] == far["zones"]
    assert here["findings"] == far["findings"]
    assert here["model"]["name"] == "oct"
    assert len(here["model"]["version"]) == 12


@pytest.mark.parametrize(
    ("dtype", "slack"), [(TensorProto.FLOAT16, 0.002), (TensorProto.UINT8, 1e-5)], ids=["float16", "uint8"]
)
async def test_other_inputs_than_float32_are_taken(tmp_path: Path, dtype: int, slack: float) -> None:
    local = rules.retina(model_path=model(tmp_path / "m.onnx", dtype=dtype), labels=LABELS, device="cpu")
    found = await analysed(local, picture(tmp_path / "a.png", b_scan(background=51)), tmp_path)

    assert found["zones"][0]["probabilities"]["dark"] == pytest.approx(0.8, abs=slack)


@pytest.mark.parametrize(("activation", "bright"), [("sigmoid", 0.0832), ("softmax", 0.0082)])
async def test_raw_scores_become_probabilities(tmp_path: Path, activation: Any, bright: float) -> None:
    local = rules.retina(
        model_path=model(tmp_path / "m.onnx", logits=True), labels=LABELS, device="cpu", activation=activation
    )
    path = picture(tmp_path / "a.png", b_scan(background=51))
    found = await analysed(local, path, tmp_path)

    assert found["zones"][0]["probabilities"]["bright"] == pytest.approx(bright, abs=2e-4)
    with pytest.raises(Failed, match=r"不是概率：-2\.4 到 2\.4.*activation 现为 none"):
        await analysed(replace(local, activation="none"), path, tmp_path)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("last", ["Sigmoid", "Softmax"])
async def test_probabilities_are_not_activated_again(tmp_path: Path, activation: Any, last: str) -> None:
    path = model(tmp_path / "m.onnx", logits=True)
    ending = onnx.load(path)
    scores = next(node for node in ending.graph.node if node.output[0] == "scores")
    scores.output[0] = "raw"
    ending.graph.node.append(onnx.helper.make_node(last, ["raw"], ["scores"]))
    onnx.save(ending, path)
    local = rules.retina(model_path=path, labels=LABELS, device="cpu", activation=activation)

    async with engine(local) as retina:
        with pytest.raises(NotConfigured, match=f"activation：现为 {activation}，.*输出 scores 以 {last} 结尾"):
            await retina.check()
    async with engine(replace(local, activation="none")) as retina:
        await retina.check()


async def test_a_local_model_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    text = tmp_path / "text.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Identity(x) }'
        ),
        text,
    )
    cases = [
        (rules.retina(), "没有配置 OCT 模型"),
        (rules.retina(model_path=tmp_path / "none.onnx", labels=LABELS), "imaging.retina.model_path：.*不存在"),
        (rules.retina(model_path=broken, labels=LABELS), "imaging.retina.model_path：.*无法加载"),
        (rules.retina(model_path=text, labels=LABELS), r"应有一个图像输入.*实际是 x FP32 \[2\]"),
        (rules.retina(model_path=model(tmp_path / "a.onnx")), "imaging.retina.labels：没有设置"),
        (rules.retina(model_path=tmp_path / "a.onnx", labels=("x", "x")), "含有相同的标签"),
        (rules.retina(model_path=tmp_path / "a.onnx", labels=LABELS, width=32), "width：是 32，而模型 a 的输入是 24"),
        (
            rules.retina(model_path=model(tmp_path / "o.onnx", width="w"), labels=LABELS),
            "imaging.retina.width：没有设置",
        ),
        (
            rules.retina(
                model_path=model(tmp_path / "u.onnx", dtype=TensorProto.UINT8), labels=LABELS, mean=(0.5, 0.5, 0.5)
            ),
            "imaging.retina.mean",
        ),
    ]
    for each, what in cases:
        async with engine(replace(each, device="cpu")) as retina:
            with pytest.raises(NotConfigured, match=what):
                await retina.check()


# --- bad input ---


@pytest.mark.parametrize(
    ("keys", "field", "what"),
    [
        ({"slice_idx": 11}, "slice_idx", "0 到 10"),
        ({"nerve_zone_landmarks": [5], "nerve_zone_slice_indices": [11]}, "nerve_zone_slice_indices", "0 到 10"),
        ({"center_coordinates": [98, 0]}, "center_coordinates", "0 到 97 px"),
    ],
)
async def test_parameters_that_do_not_fit_the_volume_are_named_before_anything_is_sent(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path, keys: Any, field: str, what: str
) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES)
    with pytest.raises(InputInvalid, match=what) as caught:
        await analysed(rules_for(server), path, tmp_path, **keys)

    assert caught.value.field == f"Inference-Parameters.{field}"
    assert rack.requests == 0


def test_a_single_image_has_one_index_in_its_examination(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", b_scan())
    retina = Retina(rules.retina())
    nerve = '"nerve_zone_landmarks": [5, 6], "nerve_zone_slice_indices": [45, 46], "scan_width": 6'

    assert retina.look(path, parse_parameters('{"slice_idx": 46, ' + nerve + "}")).slices == 1
    for text in ('{"slice_idx": [45, 46]}', "{" + nerve + "}"):
        with pytest.raises(InputInvalid) as caught:
            retina.look(path, parse_parameters(text))
        assert caught.value.field == "Inference-Parameters.slice_idx"
    with pytest.raises(InputInvalid, match="列间距"):
        retina.look(path, parse_parameters('{"mm_crop_zone": 3}'))


# --- a server that fails ---


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def failure(asked: RetinaRules, tmp_path: Path) -> ImagingError:
    path = picture(tmp_path / "a.png", b_scan())
    with pytest.raises(ImagingError) as caught:
        await analysed(asked, path, tmp_path)
    assert "127.0.0.1" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_server_that_is_away_is_unreachable(protocol: Any, tmp_path: Path) -> None:
    away = rules.retina(
        server_url=f"http://127.0.0.1:{closed_port()}", protocol=protocol, model_name="oct", labels=LABELS
    )
    assert isinstance(await failure(away, tmp_path), Unreachable)
    async with engine(away) as retina:
        with pytest.raises(Unreachable, match="无法连接OCT 推理服务"):
            await retina.check()


async def is_there(retina: Retina) -> bool:
    try:
        await retina.check()
    except Unreachable:
        return False
    return True


async def test_a_server_that_comes_back_is_found(models: dict[str, Path]) -> None:
    port = closed_port()
    away = rules.retina(server_url=f"http://127.0.0.1:{port}", model_name="oct", labels=LABELS)
    async with engine(away) as retina:
        with pytest.raises(Unreachable):
            await retina.check()
        with GrpcServer(Rack(models), port=port):
            async with asyncio.timeout(DEADLINE_S):
                while not await is_there(retina):
                    pass


@pytest.mark.parametrize(
    ("fault", "kind", "what"),
    [
        ("not_live", Unreachable, "还没有就绪"),
        ("not_ready", Unreachable, "模型 scores 还没有就绪"),
        ("busy", Unclear, ""),
        ("internal", Unclear, "内部错误"),
        ("reset", Unclear, ""),
        ("shape", Failed, "与 1 张图、2 个标签不符"),
        ("half", Failed, "不是 KServe v2 张量"),
        ("nan", Failed, "NaN"),
        ("no_output", Failed, "没有"),
    ],
)
async def test_every_failure_of_the_server_is_told_in_our_words(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path, fault: str, kind: type[ImagingError], what: str
) -> None:
    rack.fault = fault
    error = await failure(rules_for(server), tmp_path)

    assert type(error) is kind
    assert what in error.message


async def test_a_server_that_stalls_is_left_at_the_deadline(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    rack.fault = "stall"
    assert type(await failure(rules_for(server, timeout_s=LATE_S), tmp_path)) is Unclear
    rack.fault = "stall_metadata"
    assert type(await failure(rules_for(server, connect_timeout_s=LATE_S), tmp_path)) is Unclear
    async with engine(rules_for(server, connect_timeout_s=LATE_S)) as retina:
        with pytest.raises(Unclear):
            await retina.check()


async def test_a_model_or_version_that_the_server_does_not_have_is_refused(
    server: GrpcServer | HttpServer, tmp_path: Path
) -> None:
    error = await failure(rules_for(server, model_name="other"), tmp_path)
    assert isinstance(error, Refused)
    assert "unknown model: 'other'" in error.message
    assert isinstance(await failure(rules_for(server, model_version="9"), tmp_path), Refused)


async def test_a_shape_that_the_server_does_not_take_is_refused_with_its_reason(
    server: GrpcServer | HttpServer, rack: Rack, models: dict[str, Path], tmp_path: Path
) -> None:
    chosen = rules_for(server)
    async with engine(chosen) as retina:
        # The model is replaced between the question and the request.
        declared = rack.models["scores"].declared
        rack.models["scores"].declared = (
            lambda nodes: [  # type: ignore[method-assign]
                {**each, "shape": [*each["shape"][:2], *([32, 32] if len(each["shape"]) == 4 else [])]}
                for each in declared(nodes)
            ]
        )
        with pytest.raises(Refused, match="unexpected shape for input 'pictures'"):
            await retina.analyse(
                picture(tmp_path / "a.png", b_scan()), parse_parameters(""), into=tmp_path, progress=lambda *_: None
            )


async def test_labels_that_do_not_fit_the_model_are_named_with_both_numbers(
    server: GrpcServer | HttpServer, tmp_path: Path
) -> None:
    error = await failure(rules_for(server, model_name="three"), tmp_path)

    assert isinstance(error, NotConfigured)
    assert "有 2 个（dark、bright）" in error.message
    assert "scores FP32 [?, 3]" in error.message


async def test_a_cancelled_analysis_leaves_neither_a_decoder_nor_a_mask(
    server: GrpcServer | HttpServer, rack: Rack, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    rack.fault = "stall"
    async with engine(rules_for(server, model_name="oct", batch_max=1)) as retina:
        path = volume(tmp_path / "v.dcm", FRAMES)
        work = asyncio.create_task(retina.analyse(path, parse_parameters(""), into=into, progress=lambda *_: None))
        assert await asyncio.to_thread(rack.arrived.wait, 20)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    assert decoders() == []
    assert list(into.iterdir()) == []


# --- the address, and TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    paths = (folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_tls_is_verified(
    protocol: str, rack: Rack, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy of the environment is not used either.
    for name in ("https_proxy", "HTTPS_PROXY", "grpc_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with SERVERS[protocol](rack, tls=certificate) as server:
        assert server.url.startswith("https://")
        known = rules_for(server, ca_file=certificate[0])
        path = picture(tmp_path / "a.png", b_scan())
        assert len((await analysed(known, path, tmp_path))["zones"]) == 1
        async with engine(replace(known, ca_file=None)) as retina:
            with pytest.raises(Unreachable, match="无法连接OCT 推理服务"):
                await retina.check()


@pytest.mark.parametrize(
    ("protocol", "url"),
    [
        ("grpc", "http://triton.example:8001"),
        ("grpc", "grpc://127.0.0.1:8001"),
        ("grpc", "https://triton.example"),
        ("grpc", "https://triton.example:8001/models"),
        ("http", "http://user:pass@127.0.0.1:8000"),
        ("http", "https://triton.example:8000?a=1"),
        ("http", "127.0.0.1:8000"),
    ],
)
def test_an_address_that_pictures_may_not_travel_to_is_refused(protocol: Any, url: str) -> None:
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.server_url") as caught:
        Retina(rules.retina(server_url=url, protocol=protocol, model_name="oct", labels=LABELS))

    assert "pass" not in caught.value.message


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for protocol in ("grpc", "http"):
        with pytest.raises(InputInvalid, match=r"imaging\.retina\.ca_file"):
            Retina(
                rules.retina(
                    server_url="https://127.0.0.1:8001", protocol=protocol, model_name="a", ca_file=tmp_path / "ca.pem"
                )
            )


async def test_a_path_before_the_routes_is_kept(rack: Rack) -> None:
    with HttpServer(rack) as server:
        async with engine(rules_for(server, server_url=f"{server.url}/retina")) as retina:
            await retina.check()
