"""The consumption record of a surgery in the forms people take away: TSV, Markdown, CSV and XLSX.

CSV and XLSX are opened by programs that calculate: a cell that would be taken for a formula is kept text.
"""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from daemon.domain.facts import Fact, counted
from daemon.domain.surgery import Surgery
from daemon.storage.consumption_log import COLUMNS, ConsumptionLog

_FORMULA_STARTS = ("=", "+", "-", "@", "\t")
_NUMBERS = {"qty": int, "top1_score": float, "top2_score": float, "top3_score": float}
_TIME_FORMAT = "yyyy-mm-dd hh:mm:ss.000"
_WIDTH_MAX = 60


class Form(StrEnum):
    TSV = "tsv"
    MD = "md"
    CSV = "csv"
    XLSX = "xlsx"


MEDIA_TYPES = {
    Form.TSV: "text/tab-separated-values; charset=utf-8",
    Form.MD: "text/markdown; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8",
    Form.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def drawn(form: Form, surgery: Surgery, facts: Sequence[Fact], pages: ConsumptionLog) -> bytes:
    """The record in this form. Blocking: a workbook of a long surgery takes a moment."""
    match form:
        case Form.TSV:
            return pages.tsv(facts).encode()
        case Form.MD:
            return pages.markdown(surgery, facts).encode()
        case Form.CSV:
            return _csv(pages.rows(facts))
        case Form.XLSX:
            return _xlsx(surgery, facts, pages)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *[[_inert(cell) for cell in row] for row in rows]])
    return text.getvalue().encode("utf-8-sig")  # without the mark Excel takes it for the local code page


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _xlsx(surgery: Surgery, facts: Sequence[Fact], pages: ConsumptionLog) -> bytes:
    book = Workbook()
    details = book.active
    details.title = "明细"
    # Excel knows no zones: the offset of each time stands beside it.
    _heading(details, [COLUMNS[0], "utc_offset", *COLUMNS[1:]])
    for number, row in enumerate(pages.rows(facts), 2):
        at = datetime.fromisoformat(row[0])
        _write(details.cell(number, 1), at.replace(tzinfo=None))
        _write(details.cell(number, 2), f"{at:%z}"[:3] + ":" + f"{at:%z}"[3:5])
        for column, (name, text) in enumerate(zip(COLUMNS[1:], row[1:], strict=True), 3):
            _write(details.cell(number, column), _NUMBERS[name](text) if name in _NUMBERS and text else text)
    summary = book.create_sheet("汇总")
    _heading(summary, ["item_id", "item_name", "total_quantity"])
    for number, total in enumerate(counted(facts), 2):
        _write(summary.cell(number, 1), total.item.item_id)
        _write(summary.cell(number, 2), total.item.item_name)
        _write(summary.cell(number, 3), total.quantity)
    for sheet in (details, summary):
        for index, column in enumerate(sheet.columns, 1):
            sheet.column_dimensions[get_column_letter(index)].width = _width(column)
    book.properties.title = f"手术 {surgery.surgery_id} 耗材消耗记录"
    book.properties.creator = "orwatch"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _heading(sheet: Any, names: Sequence[str]) -> None:
    sheet.append(list(names))
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    sheet.freeze_panes = "A2"


def _write(cell: Cell, value: str | int | float | datetime) -> None:
    if isinstance(value, str):
        value = ILLEGAL_CHARACTERS_RE.sub("", value)
        if not value:
            return
    cell.value = value
    if isinstance(value, datetime):
        cell.number_format = _TIME_FORMAT
    elif isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        cell.data_type = "s"  # openpyxl takes "=..." for a formula
        cell.quotePrefix = True  # and so would Excel, once somebody edits the cell


def _width(column: Sequence[Cell]) -> float:
    """Wide enough for what it holds; a Chinese character takes two."""
    texts = [
        "0000-00-00 00:00:00.000" if isinstance(cell.value, datetime) else str(cell.value or "") for cell in column
    ]
    return min(_WIDTH_MAX, 2 + max(sum(2 if ord(letter) > 0x2E7F else 1 for letter in text) for text in texts))
