"""`orwatch ultrasound`: predict, the folder contract of the challenge, and scores, with real tiny models."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import ultrasound as toys
from tests.cli.conftest import Done
from tests.ultrasound import ellipse, record, save, truth_of
from tests.waiting import DEADLINE_S

Call = Callable[..., Done]
BOX = (0.05, 0.1, 0.9, 0.85)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "segmentation_model": toys.segmenter(folder / "seg.onnx"),
        "classification_model": toys.classifier(folder / "cls2.onnx"),
        "classification_model_4": toys.classifier(folder / "cls4.onnx", classes=4),
        "universal": toys.universal(folder / "universal.onnx"),
        "never": toys.segmenter(folder / "never.onnx", ends_in="Neg"),
    }


@pytest.fixture
def config(tmp_path: Path, models: Mapping[str, Path]) -> Callable[..., Path]:
    def write(*keys: str, more: str = "") -> Path:
        named = keys or ("segmentation_model", "classification_model", "classification_model_4")
        lines = [f'{key} = "{models[key]}"' for key in named]
        path = tmp_path / "orwatch.toml"
        path.write_text("[imaging.ultrasound]\n" + "\n".join(lines) + f"\n{more}\n", encoding="utf-8")
        return path

    return write


# --- predict ---


def test_a_segmentation_prints_the_answer_and_leaves_its_mask(
    call: Call, config: Callable[..., Path], tmp_path: Path
) -> None:
    rgb = ellipse(320, 240, box=BOX)
    picture = save(tmp_path / "心.png", rgb)

    done = call(
        "ultrasound", "predict", picture, "--task", "segmentation", "--dataset", "CAMUS", "--out", "out", "-c", config()
    )

    assert done.code == 0, done
    answer = json.loads(done.out)
    mask = cv2.imread(answer["mask_path_absolute"], cv2.IMREAD_UNCHANGED)
    assert (mask == truth_of(rgb)).mean() > 0.99
    assert mask.shape == (240, 320)
    assert answer["organ"] == "Heart"
    assert answer["img_dimensions"] == [320, 240]
    assert answer["mask_name"] == "心_mask.png"
    assert Path(answer["json_path"]).is_relative_to(tmp_path / "out")
    assert answer["inference_time_sec"] > 0
    assert answer["memory_usage_mb"] > 10
    assert answer["gpu_memory_usage_mb"] == answer["gpu_memory_reserved_mb"] == 0


def test_several_pictures_give_a_list_in_their_order(call: Call, config: Callable[..., Path], tmp_path: Path) -> None:
    pictures = [save(tmp_path / f"{level}.png", np.full((40, 50), level, np.uint8)) for level in (30, 220, 60)]

    done = call(
        "ultrasound", "predict", *pictures, "--task", "classification", "--dataset", "BUS - BRA", "-c", config()
    )

    assert done.code == 0, done
    answers = json.loads(done.out)
    assert [each["img_name"] for each in answers] == ["30.png", "220.png", "60.png"]
    assert [each["prediction"] for each in answers] == [0, 1, 0]
    assert done.err == ""
    assert Path("var/ultrasound/api_out/classification").is_dir()


def test_a_luminal_subtype_is_told_to_be_unreliable(call: Call, config: Callable[..., Path], tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", np.full((40, 40), 240, np.uint8))

    done = call(
        *("ultrasound", "predict", picture, "--task", "classification"),
        *("--dataset", "private_Breast_Luminal", "--out", "out", "-c", config()),
    )

    assert len(json.loads(done.out)["probability"]) == 4
    assert "不可靠" in done.err


def test_a_model_of_the_command_line_comes_before_all_configured_ones(
    call: Call, config: Callable[..., Path], models: Mapping[str, Path], tmp_path: Path
) -> None:
    picture = save(tmp_path / "a.png", np.full((40, 40), 240, np.uint8))
    of_set = f'[imaging.ultrasound.models.CAMUS]\nsegmentation = "{models["never"]}"'
    asked = ("ultrasound", "predict", picture, "--task", "segmentation", "--dataset", "CAMUS", "--out", "out", "-c")

    def is_found(*more: object) -> bool:
        answer = json.loads(call(*asked, config(more=of_set), *more).out)
        return bool(cv2.imread(answer["mask_path_absolute"], cv2.IMREAD_UNCHANGED).any())

    assert not is_found()
    assert is_found("--segmentation-model", models["segmentation_model"])
    assert is_found("--model", models["universal"])


@pytest.mark.parametrize(
    ("task", "dataset", "said"),
    [
        ("segmentation", "Atlantis", "分割任务没有数据集 Atlantis；可用：BUS-BRA"),
        ("classification", "CAMUS", "分类任务没有数据集 CAMUS"),
        ("segmentation", "", "可用："),
        ("detection", "CAMUS", "--task"),
    ],
)
def test_a_wrong_name_is_a_misuse_and_leaves_nothing(
    call: Call, config: Callable[..., Path], tmp_path: Path, task: str, dataset: str, said: str
) -> None:
    picture = save(tmp_path / "a.png", np.zeros((9, 9), np.uint8))

    done = call("ultrasound", "predict", picture, "--task", task, "--dataset", dataset, "--out", "out", "-c", config())

    assert done.code == 2
    assert said in done.err
    assert not Path("out").exists()


def test_a_picture_that_is_none_is_a_misuse(call: Call, config: Callable[..., Path], tmp_path: Path) -> None:
    broken = tmp_path / "a.averyveryverylongsuffix"
    broken.write_bytes(b"nothing")
    asked = ("--task", "segmentation", "--dataset", "CAMUS", "-c", config())

    for path, said in ((broken, "不是 PNG 或 JPEG"), (tmp_path / "none.png", "没有图像")):
        done = call("ultrasound", "predict", path, *asked)
        assert done.code == 2
        assert said in done.err


def test_without_a_model_the_keys_are_told(call: Call, tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", np.zeros((9, 9), np.uint8))

    done = call("ultrasound", "predict", picture, "--task", "segmentation", "--dataset", "CAMUS")

    assert done.code == 2
    assert "imaging.ultrasound" in done.err


def test_a_model_with_wrong_names_is_told_with_what_was_expected(call: Call, tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    model = toys.segmenter(tmp_path / "m.onnx", image="input")

    done = call(
        *("ultrasound", "predict", picture, "--task", "segmentation", "--dataset", "CAMUS"),
        *("--segmentation-model", model),
    )

    assert done.code == 1
    assert "expected input image" in done.err
    assert "docs/onnx-models.zh-CN.md" in done.err


# --- batch ---


@pytest.fixture
def challenge(tmp_path: Path) -> Callable[[list[dict[str, object]]], tuple[Path, Path, Path]]:
    """The folders of the challenge with a picture for each record."""

    def make(records: list[dict[str, object]]) -> tuple[Path, Path, Path]:
        source, listed, output = tmp_path / "input", tmp_path / "list.json", tmp_path / "output"
        for number, each in enumerate(records):
            if each["img_path_relative"].startswith("segmentation"):
                rgb = ellipse(90 + 30 * number, 120, box=BOX)
            else:
                rgb = np.full((40, 44, 3), 30 + 60 * number % 256, np.uint8)
            save(source / str(each["img_path_relative"]), rgb)
        listed.write_text(json.dumps(records), encoding="utf-8")
        return source, listed, output

    return make


SEG_1 = record("segmentation", "CAMUS", "segmentation/CAMUS/imgs/seg_001.png")
SEG_IMG = record("segmentation", "BUSI", "segmentation/BUSI/imgs/img_01.png")
CLS_2 = record("classification", "Appendix", "classification/Appendix/imgs/cls_00000.jpg")
CLS_4 = record("classification", "Breast_luminal", "classification/Breast_luminal/imgs/cls_00240.png")


def run_batch(call: Call, folders: tuple[Path, Path, Path], config: Path, *more: object) -> Done:
    source, listed, output = folders
    return call(
        *("ultrasound", "batch", "--input", source, "--input-json", listed, "--output", output, "-c", config, *more)
    )


def test_a_list_of_records_becomes_classification_json_and_masks(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    folders = challenge([SEG_1, CLS_2, SEG_IMG, CLS_4])

    done = run_batch(call, folders, config())

    assert done.code == 0, done
    source, _, output = folders
    text = (output / "classification.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert text == json.dumps(found, indent=4, ensure_ascii=False)
    assert {path: len(each["probability"]) for path, each in found.items()} == {
        CLS_2["img_path_relative"]: 2,
        CLS_4["img_path_relative"]: 4,
    }
    assert all(set(each) == {"probability", "prediction"} for each in found.values())
    masks = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    # The challenge's scorer replaces every "img", in the file's name too.
    assert masks == ["segmentation/BUSI/masks/mask_01.png", "segmentation/CAMUS/masks/seg_001.png"]
    mask = cv2.imread(str(output / masks[1]), cv2.IMREAD_UNCHANGED)
    picture = cv2.imread(str(source / SEG_1["img_path_relative"]))
    assert mask.shape == picture.shape[:2]
    assert (mask == truth_of(picture)).mean() > 0.99


def test_masks_may_keep_the_names_of_their_pictures(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    jpeg = record("segmentation", "DDTI", "segmentation/DDTI/imgs/img_imgs.jpg")
    folders = challenge([SEG_IMG, jpeg])

    done = run_batch(call, folders, config(), "--mask-names", "folder")

    assert done.code == 0, done
    masks = sorted(path.relative_to(folders[2]).as_posix() for path in folders[2].rglob("*.png"))
    assert masks == ["segmentation/BUSI/masks/img_01.png", "segmentation/DDTI/masks/img_imgs.png"]


def test_two_pictures_never_share_a_mask(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    other = record("segmentation", "BUSI", "segmentation/BUSI/imgs/mask_01.png")
    folders = challenge([SEG_IMG, other])

    done = run_batch(call, folders, config())

    assert done.code == 2
    assert "--mask-names folder" in done.err
    assert not folders[2].exists()
    assert run_batch(call, folders, config(), "--mask-names", "folder").code == 0


def test_a_mask_never_overwrites_a_picture(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    plain = record("segmentation", "BUSI", "segmentation/BUSI/pictures/a.png")
    source, listed, _ = challenge([plain])
    before = (source / "segmentation/BUSI/pictures/a.png").read_bytes()

    done = run_batch(call, (source, listed, source), config())

    assert done.code == 2
    assert "会覆盖" in done.err
    assert (source / "segmentation/BUSI/pictures/a.png").read_bytes() == before


def test_what_cannot_be_done_is_told_and_the_others_are_done(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    broken = record("classification", "BUSI", "classification/BUSI/imgs/broken.png")
    half = record("segmentation", "KidneyUS", "segmentation/KidneyUS/imgs/half.png")
    wrong_set = record("segmentation", "Atlantis", "segmentation/Atlantis/imgs/a.png")
    outside = record("segmentation", "CAMUS", "../outside.png")
    folders = challenge([broken, half, CLS_2, wrong_set, SEG_1])
    source, listed, output = folders
    (source / str(broken["img_path_relative"])).write_bytes(b"no picture")
    whole = (source / str(half["img_path_relative"])).read_bytes()
    (source / str(half["img_path_relative"])).write_bytes(whole[: len(whole) // 2])
    save(tmp_path / "outside.png", np.zeros((9, 9), np.uint8))
    records = [*json.loads(listed.read_text(encoding="utf-8")), outside, {"task": "classification"}, 7]
    listed.write_text(json.dumps(records), encoding="utf-8")

    done = run_batch(call, folders, config())

    assert done.code == 1
    for number in (1, 2, 4, 6, 7, 8):
        assert f"第 {number} 条：" in done.err
    assert "broken.png 不是 PNG 或 JPEG" in done.err
    assert "half.png 不是完整的 PNG" in done.err
    assert "完成 2 / 8 条" in done.err
    assert list(json.loads((output / "classification.json").read_text(encoding="utf-8"))) == [
        CLS_2["img_path_relative"]
    ]
    assert [path.name for path in output.rglob("*.png")] == ["seg_001.png"]
    assert [path.name for path in output.rglob(".*")] == []


def test_a_missing_model_stops_it_before_anything_is_written(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    folders = challenge([SEG_1, CLS_2])

    done = run_batch(call, folders, config("segmentation_model"))

    assert done.code == 2
    assert "第 2 条需要 Appendix 的分类模型" in done.err
    assert not folders[2].exists()


def test_a_run_that_breaks_off_leaves_no_result_of_an_earlier_one(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]]
) -> None:
    folders = challenge([CLS_2, SEG_1])
    folders[2].mkdir()
    (folders[2] / "classification.json").write_text('{"old": {}}', encoding="utf-8")
    (folders[2] / "segmentation").write_text("a file in the way", encoding="utf-8")

    done = run_batch(call, folders, config())

    assert done.code == 1
    assert "segmentation" in done.err
    assert [path.name for path in folders[2].iterdir()] == ["segmentation"]


def test_the_list_may_lie_in_a_folder_as_the_challenge_mounts_it(
    call: Call, config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    source, listed, output = challenge([CLS_2])
    mounted = tmp_path / "input_json"
    mounted.mkdir()
    listed.rename(mounted / "private_val.json")

    assert run_batch(call, (source, mounted, output), config()).code == 0
    (mounted / "second.json").write_text("[]", encoding="utf-8")
    assert "却有 2 个" in run_batch(call, (source, mounted, output), config()).err


@pytest.mark.parametrize(("content", "said"), [("{", "不是有效的 JSON"), ('{"a": 1}', "应为记录的列表")])
def test_a_list_that_is_none_is_told(
    call: Call, config: Callable[..., Path], tmp_path: Path, content: str, said: str
) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(content, encoding="utf-8")

    done = run_batch(call, (tmp_path, listed, tmp_path / "output"), config())

    assert done.code == 2
    assert said in done.err


# --- score ---


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_predicted_masks_of_every_shape_score_as_well_as_square_ones(
    call: Call, config: Callable[..., Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    records = []
    for width, height in ((480, 480), (640, 480), (1008, 819), (300, 900), (1, 1)):
        name = f"segmentation/CAMUS/imgs/{width}x{height}.png"
        rgb = ellipse(width, height, box=BOX)
        save(tmp_path / "input" / name, rgb)
        save(tmp_path / "truth" / name.replace("imgs", "masks"), truth_of(rgb))
        records.append(record("segmentation", "CAMUS", name))
    (tmp_path / "list.json").write_text(json.dumps(records), encoding="utf-8")
    assert run_batch(call, (tmp_path / "input", tmp_path / "list.json", tmp_path / "output"), config()).code == 0

    done = call("ultrasound", "score", "--truth", tmp_path / "truth", "--masks", tmp_path / "output", *more)

    assert done.code == 0, done
    print(f"\n{done.out}")
    if more:
        images = {Path(each["name"]).stem: each for each in json.loads(done.out)["masks"]["images"]}
        assert len(images) == 5
        assert all(each["dsc"] >= images["480x480"]["dsc"] - 0.002 for each in images.values())
    else:
        assert "CAMUS" in done.out
        assert "DSC" in done.out


def test_classes_are_scored_from_the_files_of_the_challenge(call: Call, tmp_path: Path) -> None:
    labels = [record("classification", "BUS - BRA", str(n)) | {"class_label_index": n % 2} for n in range(4)]
    (tmp_path / "truth.json").write_text(json.dumps([*labels, CLS_2]), encoding="utf-8")
    found = {str(n): {"probability": [0.4, 0.6] if n % 2 else [0.7, 0.3], "prediction": n % 2} for n in range(4)}
    found["3"]["prediction"] = 0
    (tmp_path / "found.json").write_text(json.dumps(found), encoding="utf-8")
    asked = ("ultrasound", "score", "--truth-json", "truth.json", "--predictions", "found.json")

    assert json.loads(call(*asked, "--json").out) == {
        "classes": {
            "datasets": {"BUS-BRA": {"count": 4, "accuracy": 0.75, "auc": 1.0}},
            "macro": {"accuracy": 0.75, "auc": 1.0},
        }
    }
    assert "0.7500" in call(*asked).out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "请给出"),
        (("--truth", "truth"), "成对给出"),
        (("--truth", "none", "--masks", "none"), "没有文件夹 none"),
        (("--truth-json", "bad.json", "--predictions", "bad.json"), "不是有效的 JSON"),
        (("--truth-json", "empty.json", "--predictions", "bad.json"), "没有带 class_label_index 的记录"),
        (("--truth-json", "records.json", "--predictions", "records.json"), "predictions"),
    ],
)
def test_what_cannot_be_scored_is_a_misuse(call: Call, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "truth").mkdir()
    for name, content in (("bad", "{"), ("empty", "[]"), ("records", json.dumps([CLS_2 | {"class_label_index": 1}]))):
        (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")

    done = call("ultrasound", "score", *options)

    assert done.code == 2
    assert said in done.err


def test_masks_of_two_sizes_are_told_with_both_names(call: Call, tmp_path: Path) -> None:
    save(tmp_path / "truth" / "a.png", np.zeros((20, 30), np.uint8))
    save(tmp_path / "masks" / "a.png", np.zeros((30, 20), np.uint8))

    done = call("ultrasound", "score", "--truth", tmp_path / "truth", "--masks", tmp_path / "masks")

    assert done.code == 2
    assert "30×20" in done.err
    assert "20×30" in done.err


# --- as a program ---


@pytest.mark.parametrize("command", [(), ("predict",), ("batch",), ("score",)], ids=" ".join)
def test_every_command_explains_itself(call: Call, command: tuple[str, ...]) -> None:
    done = call("ultrasound", *command, "--help")

    assert (done.code, done.err) == (0, "")
    assert "Usage: orwatch ultrasound" in done.out


def test_the_real_program_does_the_challenges_contract_with_its_own_folder_names(
    config: Callable[..., Path], challenge: Callable[..., tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    source, listed, output = challenge([SEG_1, CLS_2])
    command = [sys.executable, "-m", "daemon", "ultrasound", "batch", "--input", source, "--input-json", listed]

    done = subprocess.run(
        [*map(str, command), "--output", str(output), "--config", str(config())],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "完成 2 / 2 条" in done.stderr
    assert (output / "classification.json").is_file()
