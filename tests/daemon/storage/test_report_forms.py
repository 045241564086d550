"""What people open in Excel says what the ledger says, and calculates nothing."""

import csv
import io
from datetime import datetime
from pathlib import Path
from uuid import UUID

import openpyxl
import pytest

from daemon.domain.catalogue import Item
from daemon.domain.facts import Fact, FactKind
from daemon.storage.consumption_log import COLUMNS, ConsumptionLog
from daemon.storage.report_forms import Form, drawn
from tests.daemon.storage.test_consumption_log import CHINA, RUN, STORY, fact

EVILS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")']


@pytest.fixture
def pages(tmp_path: Path) -> ConsumptionLog:
    return ConsumptionLog(tmp_path, CHINA)


def workbook(pages: ConsumptionLog, facts: list[Fact]) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(drawn(Form.XLSX, RUN, facts, pages)))


def test_tsv_and_markdown_are_the_files(pages: ConsumptionLog) -> None:
    assert drawn(Form.TSV, RUN, STORY, pages).decode() == pages.tsv(STORY)
    assert drawn(Form.MD, RUN, STORY, pages).decode() == pages.markdown(RUN, STORY)


def test_csv_opens_in_excel_and_has_the_lines_of_the_log(pages: ConsumptionLog) -> None:
    content = drawn(Form.CSV, RUN, STORY, pages)
    assert content.startswith(b"\xef\xbb\xbf")
    heading, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert tuple(heading) == COLUMNS
    assert [tuple(row) for row in rows] == pages.rows(STORY)


def test_xlsx_has_details_with_real_times_and_numbers_and_a_summary(pages: ConsumptionLog) -> None:
    void = fact(FactKind.VOIDED, 4, qty=1, reason="认错了", voids=UUID(int=9))
    book = workbook(pages, [*STORY, void])
    assert book.sheetnames == ["明细", "汇总"]
    details, summary = book["明细"], book["汇总"]
    assert [cell.value for cell in details[1]] == ["time", "utc_offset", *COLUMNS[1:]]
    first = {name.value: cell.value for name, cell in zip(details[1], details[2], strict=True)}
    assert first["time"] == datetime(2026, 4, 21, 10, 30, 1)
    assert (first["utc_offset"], first["qty"], first["top1_score"]) == ("+08:00", 1, 0.9877)
    assert details["A2"].number_format == "yyyy-mm-dd hh:mm:ss.000"
    assert [row[3] for row in details.iter_rows(min_row=2, values_only=True)][-1] == "作废"
    assert list(summary.values) == [
        ("item_id", "item_name", "total_quantity"),
        ("HC001", "纱布", 1),
        ("HC002", "缝线", 1),
    ]
    for sheet in (details, summary):
        assert sheet.freeze_panes == "A2"
        assert sheet["A1"].font.bold
    assert details.column_dimensions["A"].width >= len("2026-04-21 10:30:01.000")


@pytest.mark.parametrize("evil", EVILS)
def test_no_cell_is_a_formula(pages: ConsumptionLog, evil: str) -> None:
    facts = [fact(FactKind.BOOKED, 1, Item(item_id=evil, item_name=evil), doctor_id=evil, reason="\t" + evil)]
    book = workbook(pages, facts)
    for sheet in book:
        cells = [cell for row in sheet.iter_rows(min_row=2) for cell in row if cell.value is not None]
        assert not [cell for cell in cells if cell.data_type == "f"]
        assert [cell.quotePrefix for cell in cells if cell.value == evil] == [True] * (
            4 if sheet.title == "明细" else 2
        )
    text = drawn(Form.CSV, RUN, facts, pages).decode("utf-8-sig")
    (row,) = list(csv.reader(io.StringIO(text)))[1:]
    assert [row[COLUMNS.index(name)] for name in ("item_id", "item_name", "doctor_id", "reason")] == ["'" + evil] * 4


def test_letters_that_a_workbook_cannot_hold_are_left_out(pages: ConsumptionLog) -> None:
    book = workbook(pages, [fact(FactKind.BOOKED, 1, Item(item_id="1", item_name="纱\x07布"))])
    assert book["明细"]["F2"].value == "纱布"


def test_a_surgery_without_a_fact_gives_every_form(pages: ConsumptionLog) -> None:
    assert all(drawn(form, RUN, [], pages) for form in Form)
