"""The TSV and the Markdown of a surgery hold what the facts say, whatever happened to the files."""

from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from daemon.domain.catalogue import Item
from daemon.domain.facts import AboutItem, Fact, FactKind, Posted, Score, Seen
from daemon.domain.surgery import Surgery
from daemon.storage.consumption_log import COLUMNS, ConsumptionLog
from tests.daemon.rows import GAUZE, SUTURE, at, surgery

CHINA = timezone(timedelta(hours=8))
RUN = surgery(id=UUID(int=0xABCDEF << 104))


TOP = (Score(label="纱布", score=0.98765), Score(label="缝线", score=0.01))


def fact(
    kind: FactKind,
    second: float,
    item: Item | None = GAUZE,
    *,
    camera: str = "or-cam-01",
    top: tuple[Score, ...] = TOP,
    qty: int | None = None,
    doctor_id: str = "orwatch",
    voids: UUID | None = None,
    reason: str = "",
    confirmation_id: UUID | None = None,
    evidence: str = "",
) -> Fact:
    """item: None of one about the surgery as a whole."""
    counts = int(kind in (FactKind.BOOKED, FactKind.CONFIRMED)) if qty is None else qty
    about = item and AboutItem(
        item=item,
        timestamp=at(second),
        reason=reason,
        seen=Seen(sighting_id=UUID(int=1), camera=camera, top=top),
        posted=Posted(posting_id=UUID(int=2), qty=counts, doctor_id=doctor_id, voids=voids),
        confirmation_id=confirmation_id,
        evidence=evidence,
    )
    return Fact(kind=kind, run_id=RUN.id, surgery_id=RUN.surgery_id, at=at(second + 1), about=about)


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


DAMAGES = ["truncated", "deleted", "doubled", "half a line", "not text", "other line ends", "foreign", "empty"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_set_aside_and_mended_from_the_facts(
    pages: ConsumptionLog, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = written(pages)
    damaged: dict[str, bytes] = {}
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
            case "foreign":
                path.write_bytes(content.replace("纱布".encode(), "砂布".encode()))
            case "empty":
                path.write_bytes(b"")
        if path.exists():
            damaged[f"{path.name}.damaged-1"] = path.read_bytes()
    pages.open(RUN, STORY)
    assert files(pages) == whole
    folder = pages.paths(RUN)[0].parent
    assert {path.name: path.read_bytes() for path in folder.glob("*.damaged-*")} == damaged
    assert len(caplog.messages) == len(damaged)
    assert all(any(name in line for line in caplog.messages) for name in damaged)
    assert not caplog.messages or "made again from the ledger" in caplog.messages[0]
    pages.open(RUN, STORY)
    assert len(list(folder.glob("*.damaged-*"))) == len(damaged)
    assert all(path.read_bytes().count(b"\r") == 0 for path in pages.paths(RUN))


def test_a_tsv_that_is_taken_away_in_mid_surgery_is_whole_again_with_the_next_fact(pages: ConsumptionLog) -> None:
    pages.open(RUN, STORY[:-1])
    tsv, _ = pages.paths(RUN)
    tsv.unlink()
    pages.append(RUN.id, STORY[-1:])
    assert files(pages)[0] == pages.tsv(STORY)


@pytest.mark.parametrize("known", range(1, len(STORY)))
def test_files_that_only_lack_their_last_lines_are_brought_up_to_date_in_place(
    pages: ConsumptionLog, known: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a crash between a commit and its line."""
    pages.open(RUN, STORY[:known])
    pages.open(RUN, STORY)
    assert files(pages) == (pages.tsv(STORY), pages.markdown(RUN, STORY))
    assert not list(pages.paths(RUN)[0].parent.glob("*.damaged-*"))
    assert caplog.messages == []


def test_a_second_damage_does_not_overwrite_what_the_first_left(pages: ConsumptionLog) -> None:
    written(pages)
    tsv, _ = pages.paths(RUN)
    for text in ("first", "second"):
        tsv.write_text(text, encoding="utf-8")
        pages.open(RUN, STORY)
    assert [tsv.with_name(f"{tsv.name}.damaged-{n}").read_text() for n in (1, 2)] == ["first", "second"]


def test_a_void_has_a_line_of_its_own_and_comes_off_the_total(pages: ConsumptionLog) -> None:
    void = fact(FactKind.VOIDED, 4, qty=1, doctor_id="D1001", reason="认错了", voids=UUID(int=9))
    added = fact(FactKind.BOOKED, 8, SUTURE, reason="补记", camera="", top=(), doctor_id="D1001")
    story = [*STORY[:-1], void, added]
    pages.open(RUN, story)
    tsv, page = files(pages)
    rows = [line.split("\t") for line in tsv.splitlines()]
    assert [row[2] for row in rows[-2:]] == ["作废", "已记账"]
    assert (rows[-2][5], rows[-2][6], rows[-2][14]) == ("1", "D1001", "认错了")
    assert (rows[-1][1], rows[-1][7], rows[-1][14]) == ("", "", "补记")
    assert "| HC001 | 纱布 | 1 |" in page
    assert "| HC002 | 缝线 | 2 |" in page
    assert "合计：3" in page
    pages.open(RUN, [*story, replace(void, seq=99)])
    assert "HC001 | 纱布 | 0" not in files(pages)[1].partition("明细")[0]


def test_a_surgery_that_goes_on_after_its_end_is_not_shown_as_ended(pages: ConsumptionLog) -> None:
    assert "- 结束：进行中" in pages.markdown(RUN, [*STORY, fact(FactKind.SURGERY_RESUMED, 20, None)])
    assert "- 结束：2026" in pages.markdown(RUN, [*STORY, fact(FactKind.VOIDED, 20)])


def test_the_key_of_the_evidence_stands_at_the_end_of_the_line(pages: ConsumptionLog) -> None:
    story = [fact(FactKind.BOOKED, 1, evidence="100001/abc.jpg")]
    pages.open(RUN, story)
    tsv, page = files(pages)
    assert tsv.splitlines()[1].endswith("\t100001/abc.jpg")
    assert page.splitlines()[-1].endswith("| 100001/abc.jpg |")


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
    assert row.replace("\\|", "").count("|") == 13


def test_another_run_of_the_same_surgery_has_files_of_its_own(pages: ConsumptionLog) -> None:
    later = surgery(started_at=at(60))
    assert not set(pages.paths(RUN)) & set(pages.paths(later))


def test_no_temporary_file_is_left(pages: ConsumptionLog) -> None:
    written(pages)
    folder = pages.paths(RUN)[0].parent
    assert sorted(path.suffix for path in folder.iterdir()) == [".md", ".tsv"]
