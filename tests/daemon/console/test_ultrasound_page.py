"""The ultrasound page in Debian's Chromium, on a running daemon with tiny real models."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import FilePayload, Page, expect

from daemon.console.pages import ULTRASOUND
from tests.daemon.conftest import DaemonOn
from tests.daemon.console.browser import CHROMIUM, SHOTS, shot, visiting
from tests.daemon.harness import Daemon
from tests.daemon.imaging import ultrasound_room as room
from tests.waiting import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

KEY = "his-key-0123456789"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    models = room.models(tmp_path_factory.mktemp("models"))
    data = room.write_data(tmp_path_factory.mktemp("data"))
    for path in data.rglob("*.*"):
        path.write_bytes(room.encoded(room.scan(720, 540), path.suffix))
    return models | {"data_dir": str(data)}


@pytest.fixture
async def daemon(daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]) -> AsyncIterator[Daemon]:
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, **site)) as running:
        await until(lambda: "ultrasound" in running.parts.context.health.components)
        yield running


async def upload(page: Page, content: bytes, name: str = "scan.png") -> None:
    await page.locator("#file").set_input_files(FilePayload(name=name, mimeType="image/png", buffer=content))


async def opened(page: Page, rgb: npt.NDArray[np.uint8]) -> None:
    await upload(page, room.encoded(rgb))
    await expect(page.locator("#status")).to_contain_text("原图")


async def analysed(page: Page, shown: str) -> None:
    await page.locator("#analyse").click()
    await expect(page.locator(f"#result[data-shown={shown}] .figures")).to_be_visible()


async def dragged(page: Page, handle: str, dx: float, dy: float) -> None:
    box = await page.locator(f"cropper-handle[action={handle}]").last.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + dx / 2, y + dy / 2)
    await page.mouse.move(x + dx, y + dy)
    await page.mouse.up()


def where_in(whole: npt.NDArray[np.uint8], part: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Column and row at which the part stands in the whole, pixel for pixel."""
    found = cv2.matchTemplate(whole, part, cv2.TM_SQDIFF)
    row, column = np.unravel_index(int(np.argmin(found)), found.shape)
    height, width = part.shape[:2]
    assert np.array_equal(whole[row : row + height, column : column + width], part)
    return int(column), int(row)


def kept(daemon: Daemon, record: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """The picture that was judged."""
    name = record["img_path_relative"].removeprefix("api_in/")
    return room.decoded((daemon.settings.imaging.ultrasound.upload_dir / name).read_bytes())


async def test_what_is_turned_zoomed_and_cropped_is_sent_pixel_for_pixel(daemon: Daemon) -> None:
    rgb = room.scan(720, 540)
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await opened(page, rgb)
        await page.locator("#turn-right").click()
        await page.locator("#zoom-in").click()
        await dragged(page, "nw-resize", 60, 90)
        await dragged(page, "se-resize", -30, -20)
        await expect(page.locator("#status")).to_contain_text("已调整")
        await analysed(page, "segmentation")
        await page.locator("#opacity").fill("30")
        await shot(page, "segmentation")

        [record] = seen.records()
        sent = kept(daemon, record)
        turned = np.rot90(rgb, -1)
        assert sent.shape[0] < turned.shape[0] - 50
        where_in(np.ascontiguousarray(turned), sent)
        assert record["img_dimensions"] == [sent.shape[1], sent.shape[0]]
        assert record["img_name"] == "scan_crop.png"
        assert {name: record[name] for name in room.UNKNOWN} == room.UNKNOWN
        assert (record["task"], record["dataset_name"], record["organ"]) == ("segmentation", "KidneyUS", "Kidney")
        assert len(seen.sent("/imaging/ultrasound/upload")) == 2
        told = await page.locator(".told").text_content() or ""
        shown = sent.max(axis=2) > 127
        assert float(told.split()[1]) == pytest.approx(100 * shown.mean(), abs=3)
        await page.locator("#analyse").click()
        await expect(page.locator("#analyse")).to_be_enabled()
        # The same box is not uploaded twice.
        assert len(seen.sent("/imaging/ultrasound/upload")) == 2
        if SHOTS:
            Path(SHOTS, "request.json").write_text(json.dumps(record, ensure_ascii=False, indent=2), encoding="utf-8")


async def test_a_tilted_box_is_cut_at_the_pictures_own_resolution(daemon: Daemon) -> None:
    rgb = room.scan(1440, 1080)
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await opened(page, rgb)
        await page.locator("#tilt").fill("10")
        await dragged(page, "nw-resize", 120, 120)
        await dragged(page, "se-resize", -120, -120)
        await analysed(page, "segmentation")

        sent = kept(daemon, seen.records()[0])
        # A stage of some 600 pixels shows 1440: cut on the screen, it would be less than half of this.
        assert sent.shape[1] > 800
        turning = cv2.getRotationMatrix2D((719.5, 539.5), -10, 1.0)
        whole = cv2.warpAffine(rgb, turning, (1440, 1080), flags=cv2.INTER_LINEAR)[300:700, 400:1000]
        middle = sent[sent.shape[0] // 2 - 50 :, sent.shape[1] // 2 - 50 :][:100, :100]
        found = cv2.matchTemplate(np.ascontiguousarray(whole), np.ascontiguousarray(middle), cv2.TM_CCOEFF_NORMED)
        assert found.max() > 0.97


async def test_a_picture_that_comes_back_to_itself_is_judged_as_it_was_uploaded(daemon: Daemon) -> None:
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await opened(page, room.scan(720, 540))
        for name in ("turn-right", "zoom-in", "turn-left", "zoom-out", "turn-left", "reset"):
            await page.locator(f"#{name}").click()
        for width, height in ((390, 844), (820, 1180), (1440, 900)):
            await page.set_viewport_size({"width": width, "height": height})
            await expect(page.locator("#status")).to_contain_text("原图")
        await analysed(page, "segmentation")

        [record] = seen.records()
        assert record["img_path_relative"] == "api_in/scan.png"
        assert len(seen.sent("/imaging/ultrasound/upload")) == 1
        for width, height in ((820, 1180), (390, 844)):
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert min(await page.evaluate(SIZES)) >= 44
            await shot(page, f"small-{width}")


SIZES = """[...document.querySelectorAll("button")].filter((button) => button.offsetParent)
    .map((button) => Math.min(button.offsetWidth, button.offsetHeight))"""


async def test_everything_can_be_done_from_the_keyboard(daemon: Daemon) -> None:
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await opened(page, room.scan(720, 540))
        await page.locator("#stage").focus()
        for key in ("]", "+", "Shift+ArrowLeft", "Shift+ArrowUp", "ArrowDown", ".", ","):
            await page.keyboard.press(key)
        await expect(page.locator("#status")).to_contain_text("已调整  ·  90°", use_inner_text=False)
        await page.locator("#analyse").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#result[data-shown=segmentation]")).to_be_visible()

        where_in(np.ascontiguousarray(np.rot90(room.scan(720, 540), -1)), kept(daemon, seen.records()[0]))


async def test_a_sample_is_classified_with_chinese_labels_and_an_honest_note(daemon: Daemon) -> None:
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await opened(page, room.scan(720, 540))
        await page.locator("input[value=classification]").check()
        # Another task begins with an empty stage and its own part.
        await expect(page.locator("#empty")).to_be_visible()
        assert await page.locator("input[name=part]:checked").get_attribute("value") == "private_Appendix"
        await page.locator("input[value=private_Breast_luminal]").check()
        await page.locator("#sample").click()
        await expect(page.locator("#status")).to_contain_text("cls_00240.png")
        await analysed(page, "classification")
        await shot(page, "classification")

        [record] = seen.records()
        assert record["img_path_relative"] == "classification/private_Breast_luminal/imgs/cls_00240.png"
        assert (record["dataset_name"], record["organ"]) == ("private_Breast_luminal", "Breast")
        rows = await page.locator(".bars li").all_text_contents()
        assert [row[: row.index(" ")] for row in rows if "HER2 型" in row] == ["HER2"]
        assert ["三阴性（乳腺癌）" in row for row in rows] == [False, False, False, True]
        assert await page.locator(".bars .found").count() == 1
        await expect(page.locator(".warning:visible")).to_contain_text("不可靠")
        await expect(page.locator("pre").first).to_contain_text('"task": "classification"', use_inner_text=False)

        await page.locator("#language").click()
        await expect(page.locator("h1")).to_have_text("Ultrasound analysis")
        await expect(page.locator(".bars li").last).to_contain_text("Triple Negative")
        await shot(page, "classification-english")

        # A result is not taken for one of what is on the stage now.
        await page.locator("#turn-right").click()
        await expect(page.locator("#stale")).to_be_visible()
        await page.locator("#reset").click()
        await expect(page.locator("#stale")).to_be_hidden()


async def test_what_cannot_be_done_is_said_in_plain_chinese(daemon: Daemon) -> None:
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, _):
        await upload(page, b"no picture", "报告.png")
        await expect(page.locator("#error-text")).to_contain_text("IMAGING_INPUT_INVALID")
        await page.locator("input[value=CAMUS]").check()
        await page.locator("#sample").click()
        await expect(page.locator("#error-text")).to_contain_text("IMAGING_INPUT_NOT_FOUND")
        await shot(page, "error")
        await page.locator("#error-close").click()
        await expect(page.locator("#error")).to_be_hidden()
        await expect(page.locator("#analyse")).to_be_disabled()


def said_to_be_turned(jpeg: bytes) -> bytes:
    """With EXIF of one entry: orientation 6, a quarter turn clockwise."""
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


async def test_a_jpeg_that_says_it_is_turned_is_judged_as_it_is_seen(daemon: Daemon) -> None:
    jpeg = room.encoded(room.scan(720, 540), ".jpg")
    async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
        await upload(page, said_to_be_turned(jpeg), "photo.jpg")
        await expect(page.locator("#status")).to_contain_text("540×720")
        await analysed(page, "segmentation")

        sent = kept(daemon, seen.records()[0])
        assert sent.shape[:2] == (720, 540)
        assert np.abs(sent.astype(int) - np.rot90(room.decoded(jpeg), -1)).mean() < 2


async def test_the_key_is_asked_for_once_and_kept_in_the_tab_only(
    daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "his"\nrole = "his"\nkey = "{KEY}"\n', encoding="utf-8")
    keys.chmod(0o600)
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, **site), auth={"keys_file": str(keys)}) as daemon:
        await until(lambda: "ultrasound" in daemon.parts.context.health.components)
        async with visiting(daemon.url + ULTRASOUND + "/") as (page, seen):
            await expect(page.locator("#key")).to_be_visible()
            await shot(page, "key")
            await page.locator("#key-value").fill("wrong-key-0123456789")
            await page.locator("#key-value").press("Enter")
            await expect(page.locator("#key-told")).to_contain_text("无效")
            await page.locator("#key-value").fill(KEY)
            await page.locator("#key-value").press("Enter")
            await expect(page.locator("#key")).to_be_hidden()
            await page.locator("#sample").click()
            await expect(page.locator("#status")).to_contain_text("seg_00000.png")
            await analysed(page, "segmentation")

            assert await page.evaluate("localStorage.length") == 0
            assert await page.evaluate("document.cookie") == ""
            assert KEY in await page.evaluate("Object.values(sessionStorage).join()")
            assert not [each.url for each in seen.requests if KEY in each.url]
