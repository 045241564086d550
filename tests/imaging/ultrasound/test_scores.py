"""DSC, NSD, accuracy and AUC on cases that can be counted by hand; and the memory figures."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import InputInvalid, InputMissing
from imaging.ultrasound.memory import held_by, usage
from imaging.ultrasound.scores import auc, dsc, nsd, score_classes, score_masks
from tests.ultrasound import save


def box(top: int, left: int, bottom: int, right: int, size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top:bottom, left:right] = True
    return mask


# --- masks ---


def test_dsc_is_twice_the_common_part_of_both() -> None:
    assert dsc(box(0, 0, 4, 4), box(0, 2, 4, 6)) == pytest.approx(2 * 8 / (32 + 1e-6), abs=1e-12)
    assert dsc(box(0, 0, 4, 4), box(10, 10, 14, 14)) == 0
    assert dsc(box(2, 2, 9, 9), box(2, 2, 9, 9)) == pytest.approx(1)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 1.0), (2, 32 / 56)])
def test_nsd_forgives_one_pixel_and_no_more(shift: int, expected: float) -> None:
    """An 8x8 box has a boundary of 28 pixels. Moved by two, twelve of each lie more than one pixel from the other."""
    assert nsd(box(5, 5, 13, 13), box(5, 5 + shift, 13, 13 + shift)) == pytest.approx(expected)


def brute_nsd(truth: np.ndarray, found: np.ndarray) -> float:
    """By the definition, pixel for pixel."""

    def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
        rows, columns = mask.shape
        around = ((-1, 0), (1, 0), (0, -1), (0, 1))
        return [
            (y, x)
            for y, x in product(range(rows), range(columns))
            if mask[y, x]
            and any(0 <= y + dy < rows and 0 <= x + dx < columns and not mask[y + dy, x + dx] for dy, dx in around)
        ]

    one, two = boundary(truth), boundary(found)
    near = sum(any((y - v) ** 2 + (x - u) ** 2 <= 1 for v, u in two) for y, x in one)
    near += sum(any((y - v) ** 2 + (x - u) ** 2 <= 1 for v, u in one) for y, x in two)
    return near / (len(one) + len(two))


@pytest.mark.parametrize("seed", range(8))
def test_nsd_is_what_its_definition_says_on_ragged_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.random((12, 15)) > 0.5, rng.random((12, 15)) > 0.6

    assert nsd(truth, found) == pytest.approx(brute_nsd(truth, found))


def test_the_edge_of_the_picture_is_no_boundary() -> None:
    half, other = box(0, 0, 20, 10), box(0, 0, 20, 11)

    assert nsd(half, other) == 1.0
    assert nsd(half, box(0, 0, 20, 14)) == 0.0


def test_two_empty_masks_agree_and_one_alone_does_not() -> None:
    empty, some, full = box(0, 0, 0, 0), box(3, 3, 9, 9), box(0, 0, 20, 20)

    assert (dsc(empty, empty), nsd(empty, empty)) == (1.0, 1.0)
    assert (dsc(empty, some), nsd(empty, some), nsd(some, empty)) == (0.0, 0.0, 0.0)
    assert (nsd(full, full), nsd(full, some)) == (1.0, 0.0)


def test_masks_are_found_in_the_folders_of_the_challenge_and_told_by_set(tmp_path: Path) -> None:
    truth, masks = tmp_path / "truth", tmp_path / "masks"
    for name, found in (("CAMUS/masks/1.png", box(0, 2, 4, 6)), ("DDTI/masks/2.png", box(0, 0, 4, 4))):
        save(truth / "segmentation" / name, box(0, 0, 4, 4).astype(np.uint8) * 255)
        save(truth / "segmentation" / name.replace("masks", "imgs"), np.full((20, 20), 77, np.uint8))
        save(masks / "segmentation" / name, found.astype(np.uint8) * 255)

    scores = score_masks(truth, masks)

    assert [(each.group, round(each.dsc, 6)) for each in scores] == [("CAMUS", 0.5), ("DDTI", 1.0)]
    assert scores[0].name == "segmentation/CAMUS/masks/1.png"


def test_masks_of_another_size_name_both(tmp_path: Path) -> None:
    save(tmp_path / "truth" / "a.png", np.zeros((20, 30), np.uint8))
    save(tmp_path / "masks" / "a.png", np.zeros((20, 20), np.uint8))

    with pytest.raises(InputInvalid, match=r"30×20.*20×20") as caught:
        score_masks(tmp_path / "truth", tmp_path / "masks")

    assert str(tmp_path / "truth" / "a.png") in caught.value.message
    assert str(tmp_path / "masks" / "a.png") in caught.value.message


def test_what_is_no_mask_or_not_there_is_told(tmp_path: Path) -> None:
    truth, masks = tmp_path / "truth", tmp_path / "masks"
    with pytest.raises(InputMissing, match="没有文件夹"):
        score_masks(truth, masks)
    truth.mkdir()
    with pytest.raises(InputMissing, match="没有掩膜"):
        score_masks(truth, masks)
    save(truth / "a.png", np.arange(100, dtype=np.uint8).reshape(10, 10))
    with pytest.raises(InputMissing, match=r"缺少 1 个掩膜：a\.png"):
        score_masks(truth, masks)
    save(masks / "a.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(InputInvalid, match="只有 0 和 255"):
        score_masks(truth, masks)


def test_masks_of_0_and_1_are_masks_too(tmp_path: Path) -> None:
    save(tmp_path / "truth" / "a.png", box(2, 2, 9, 9).astype(np.uint8))
    save(tmp_path / "masks" / "a.png", box(2, 2, 9, 9).astype(np.uint8) * 255)

    assert score_masks(tmp_path / "truth", tmp_path / "masks")[0].dsc == pytest.approx(1)


# --- classes ---


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_auc_is_the_chance_that_a_positive_stands_above_a_negative(rows: list[tuple[int, bool]]) -> None:
    positive = [score for score, is_positive in rows if is_positive]
    negative = [score for score, is_positive in rows if not is_positive]

    found = auc([score for score, _ in rows], [is_positive for _, is_positive in rows])

    if not positive or not negative:
        assert found is None
    else:
        wins = sum((p > n) + (p == n) / 2 for p, n in product(positive, negative))
        assert found == pytest.approx(wins / (len(positive) * len(negative)))


def test_classes_are_scored_by_set() -> None:
    truth = {"a": ("BUSI", 0), "b": ("BUSI", 1), "c": ("BUSI", 1), "d": ("Appendix", 1)}
    found = {"a": ([0.9, 0.1], 0), "b": ([0.6, 0.4], 0), "c": ([0.2, 0.8], 1), "d": ([0.1, 0.9], 1)}

    busi, appendix = score_classes(truth, found)

    assert (busi.group, busi.count, busi.auc) == ("BUSI", 3, 1.0)
    assert busi.accuracy == pytest.approx(2 / 3)
    assert (appendix.accuracy, appendix.auc) == (1.0, None)


def test_of_four_classes_auc_is_the_mean_over_them() -> None:
    truth = {str(number): ("private_Breast_luminal", number % 4) for number in range(8)}
    right = {name: (np.eye(4)[label].tolist(), label) for name, (_, label) in truth.items()}
    wrong_way = {name: ((1 - np.eye(4)[label]).tolist(), 0) for name, (_, label) in truth.items()}

    assert score_classes(truth, right)[0].auc == 1.0
    assert score_classes(truth, wrong_way)[0].auc == 0.0


def test_predictions_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputMissing, match="缺少 b 的预测"):
        score_classes({"a": ("BUSI", 0), "b": ("BUSI", 1)}, {"a": ([0.5, 0.5], 0)})
    with pytest.raises(InputInvalid, match="真实类别是 2"):
        score_classes({"a": ("BUSI", 2)}, {"a": ([0.5, 0.5], 0)})
    with pytest.raises(InputInvalid, match="个数不一致"):
        score_classes({"a": ("BUSI", 0), "b": ("BUSI", 0)}, {"a": ([0.5, 0.5], 0), "b": ([1.0, 0, 0, 0], 0)})


# --- memory ---


def test_memory_is_what_the_system_says_of_this_process() -> None:
    used = usage("CPUExecutionProvider")

    assert used.memory_mb == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.05)
    assert (used.gpu_used_mb, used.gpu_reserved_mb) == (0.0, 0.0)


def test_memory_grows_with_what_is_held() -> None:
    before = usage("CPUExecutionProvider").memory_mb
    held = np.ones(50 * 2**20, np.uint8)

    assert 40 < usage("CPUExecutionProvider").memory_mb - before < 80
    assert held[-1] == 1


class Driver:
    """The far side of NVML: by GPU, process ids and the bytes they hold."""

    def __init__(self, *gpus: dict[int, int | None]) -> None:
        self._gpus = gpus

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802  as NVML writes them
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in self._gpus[handle].items()]


@pytest.mark.parametrize(
    ("gpus", "held"),
    [
        (({7: 100, 8: 50}, {8: 30}), 100),
        (({7: 100}, {7: 5}), 105),
        (({}, {4711: 40}), 40),  # in a container: the host's id of the only process
        (({8: 50}, {9: 30}), 0),
        (({7: None},), 0),
        (({}, {}), 0),
    ],
)
def test_gpu_memory_is_that_of_this_process_and_of_no_other(gpus: tuple[dict[int, int | None], ...], held: int) -> None:
    assert held_by(7, Driver(*gpus)) == held


def test_without_a_driver_the_gpu_figures_are_0_and_nothing_breaks() -> None:
    """The original asked torch.cuda and failed where there was none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        used = usage("CUDAExecutionProvider")
        assert (used.gpu_used_mb, used.gpu_reserved_mb) == (0.0, 0.0)
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has a driver")
