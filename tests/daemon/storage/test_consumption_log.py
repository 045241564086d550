"""The TSV and the Markdown of a surgery hold what the facts say, whatever happened to the files."""

from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from daemon.domain.catalogue import Item
from daemon.domain.facts import Fact, FactKind, Score
from daemon.domain.surgery import Surgery
from daemon.storage.consumption_log import COLUMNS, ConsumptionLog
from tests.daemon.rows import GAUZE, SUTURE, at, surgery

CHINA = timezone(timedelta(hours=8))
RUN = surgery(id=UUID(int=0xABCDEF << 104))


def fact(kind: FactKind, second: float, item: Item | None = GAUZE, **changes: object) -> Fact:
    base = Fact(
        kind=kind,
        run_id=RUN.id,
        surgery_id=RUN.surgery_id,
        at=at(second + 1),
        timestamp=at(second) if item else None,
        camera="or-cam-01" if item else "",
        item=item,
        qty=1 if kind in (FactKind.BOOKED, FactKind.CONFIRMED) else 0,
        doctor_id="orwatch" if item else "",
        top=(Score(label="纱布", score=0.98765), Score(label="缝线", score=0.01)) if item else (),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


STORY = [
    fact(FactKind.SURGERY_STARTED, 0, None),
    fact(FactKind.BOOKED, 1),
    fact(FactKind.ASKED, 2, SUTURE, confirmation_id=UUID(int=7)),
    fact(FactKind.CONFIRMED, 2, SUTURE, confirmation_id=UUID(int=7), doctor_id="D1001"),
    fact(FactKind.IGNORED, 3, reason="not_candidate"),
    fact(FactKind.BOOKED, 4),
    fact(FactKind.SURGERY_ENDED, 9, None),
]


@pytest.fixture
def pages(tmp_path: Path) -> ConsumptionLog:
    return ConsumptionLog(tmp_path / "log", CHINA)


def files(pages: ConsumptionLog, run: Surgery = RUN) -> tuple[str, str]:
    tsv, page = pages.paths(run)
    return tsv.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")


def written(pages: ConsumptionLog) -> tuple[str, str]:
    """As the daemon writes it, fact by fact."""
    pages.open(RUN, STORY[:1])
    for each in STORY[1:]:
        pages.append(RUN.id, [each])
    return files(pages)


def test_the_tsv_has_a_line_per_fact_about_an_item(pages: ConsumptionLog) -> None:
    tsv, _ = written(pages)
    heading, *rows = [line.split("\t") for line in tsv.splitlines()]
    assert tuple(heading) == COLUMNS
    assert [row[2] for row in rows] == ["已记账", "待确认", "已确认", "未采纳", "已记账"]
    assert rows[0][:7] == ["2026-04-21T10:30:01.000+08:00", "or-cam-01", "已记账", "HC001", "纱布", "1", "orwatch"]
    assert rows[0][7:13] == ["纱布", "0.9877", "缝线", "0.0100", "", ""]
    assert rows[2][6] == "D1001"
    assert rows[3][14] == "not_candidate"
    assert rows[1][13] == str(UUID(int=7))


def test_the_page_sums_up_what_was_booked_and_confirmed(pages: ConsumptionLog) -> None:
    _, page = written(pages)
    assert "# 手术 100001 耗材消耗记录" in page
    assert "| HC001 | 纱布 | 2 |" in page
    assert "| HC002 | 缝线 | 1 |" in page
    assert "合计：3" in page
    assert "- 开始：2026-04-21 10:30:00" in page
    assert "- 结束：2026-04-21 10:30:10" in page


def test_files_grown_fact_by_fact_are_the_files_drawn_at_once(pages: ConsumptionLog, tmp_path: Path) -> None:
    grown = written(pages)
    assert grown == (pages.tsv(STORY), pages.markdown(RUN, STORY))
    at_once = ConsumptionLog(tmp_path / "other", CHINA)
    at_once.open(RUN, STORY)
    assert files(at_once) == grown


@pytest.mark.parametrize("damage", ["truncated", "deleted", "doubled", "half a line", "not text", "other line ends"])
def test_damaged_files_are_mended_from_the_facts(pages: ConsumptionLog, damage: str) -> None:
    whole = written(pages)
    for path in pages.paths(RUN):
        content = path.read_bytes()
        match damage:
            case "truncated":
                path.write_bytes(content[: len(content) // 2])
            case "deleted":
                path.unlink()
            case "doubled":
                path.write_bytes(content + content)
            case "half a line":
                path.write_bytes(content[:-7])
            case "not text":
                path.write_bytes(b"\xff\xfe" + content)
            case "other line ends":
                path.write_bytes(content.replace(b"\n", b"\r\n"))
    pages.open(RUN, STORY)
    assert files(pages) == whole
    assert all(path.read_bytes().count(b"\r") == 0 for path in pages.paths(RUN))


def test_a_tsv_that_is_taken_away_in_mid_surgery_is_whole_again_with_the_next_fact(pages: ConsumptionLog) -> None:
    pages.open(RUN, STORY[:-1])
    tsv, _ = pages.paths(RUN)
    tsv.unlink()
    pages.append(RUN.id, STORY[-1:])
    assert files(pages)[0] == pages.tsv(STORY)


def test_an_intact_tsv_is_not_rewritten(pages: ConsumptionLog) -> None:
    written(pages)
    tsv, _ = pages.paths(RUN)
    before = tsv.stat().st_ino
    pages.open(RUN, STORY)
    assert tsv.stat().st_ino == before


def test_no_name_can_break_a_line_or_a_cell(pages: ConsumptionLog) -> None:
    evil = Item(item_id="H|1\t\n", item_name='纱\r\n布 "x" \\ | `')
    story = [fact(FactKind.BOOKED, 1, evil)]
    pages.open(RUN, story)
    tsv, page = files(pages)
    assert [len(line.split("\t")) for line in tsv.splitlines()] == [len(COLUMNS)] * 2
    row = next(line for line in page.splitlines() if line.startswith("| 2026"))
    assert row.replace("\\|", "").count("|") == 12


def test_another_run_of_the_same_surgery_has_files_of_its_own(pages: ConsumptionLog) -> None:
    later = surgery(started_at=at(60))
    assert not set(pages.paths(RUN)) & set(pages.paths(later))


def test_no_temporary_file_is_left(pages: ConsumptionLog) -> None:
    written(pages)
    folder = pages.paths(RUN)[0].parent
    assert sorted(path.suffix for path in folder.iterdir()) == [".md", ".tsv"]
