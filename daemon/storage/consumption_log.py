"""The consumption log of a surgery: a TSV that grows by whole lines, and a Markdown page for people.

Both are drawn from the facts of the outbox, one line per fact about an item or a camera, so they can always be made
again. The TSV is appended and fsynced; the Markdown is rewritten whole, through a temporary file, after each fact.

A crash between commit and append leaves a file that only lacks its last lines: it is brought up to date. A file that
says anything else (half a line, foreign content, lines twice) is somebody's evidence: it is set aside under another
name, and the log says so, before the file is made again.
"""

import csv
import io
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from uuid import UUID

from daemon.domain.facts import Fact, FactKind, counted
from daemon.domain.surgery import Surgery

log = logging.getLogger(__name__)

STATUS = {
    FactKind.BOOKED: "已记账",
    FactKind.ASKED: "待确认",
    FactKind.CONFIRMED: "已确认",
    FactKind.REJECTED: "已否认",
    FactKind.UNRESOLVED: "未答复",
    FactKind.IGNORED: "未采纳",
    FactKind.MERGED: "已合并",
    FactKind.VOIDED: "作废",
    FactKind.CAMERA_BLIND: "画面中断",
    FactKind.CAMERA_SEES: "画面恢复",
}
COLUMNS = (
    "time", "camera", "status", "item_id", "item_name", "qty", "doctor_id",
    "top1", "top1_score", "top2", "top2_score", "top3", "top3_score", "confirmation_id", "reason", "evidence",
)  # fmt: skip
_OF_THE_RUN = (FactKind.SURGERY_STARTED, FactKind.SURGERY_RESUMED, FactKind.SURGERY_ENDED)
_DETAILS = "## 明细\n"


class ConsumptionLog:
    """Keeps the facts of the runs that are open, to draw their pages from. Blocking; one caller at a time."""

    def __init__(self, folder: Path, zone: tzinfo | None) -> None:
        self._folder = folder
        self._zone = zone
        self._open: dict[UUID, tuple[Surgery, list[Fact]]] = {}

    def paths(self, surgery: Surgery) -> tuple[Path, Path]:
        """TSV and Markdown of one run; a later run of the same id gets files of its own."""
        stem = f"{surgery.surgery_id}_{self._local(surgery.started_at):%Y%m%dT%H%M%S}_{surgery.id.hex[:6]}"
        return self._folder / f"{stem}.tsv", self._folder / f"{stem}.md"

    def open(self, surgery: Surgery, facts: Sequence[Fact]) -> None:
        """Begin or go on with a run's log; facts: all of the run so far. Mends files that differ from them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open[surgery.id] = (surgery, list(facts))
        tsv, page = self.paths(surgery)
        _mend(tsv, self.tsv(facts), is_behind=_lines_missing)
        _mend(page, self.markdown(surgery, facts), is_behind=_details_missing)

    def append(self, run_id: UUID, facts: Sequence[Fact]) -> None:
        """Add what has just been committed to a run that is open."""
        surgery, all_facts = self._open[run_id]
        all_facts.extend(facts)
        tsv, page = self.paths(surgery)
        if not tsv.exists():
            _replace(tsv, self.tsv(all_facts))  # somebody took it away; what is appended to needs its heading
        else:
            with tsv.open("a", encoding="utf-8", newline="") as file:
                file.write(_rows(self.rows(facts)))
                file.flush()
                os.fsync(file.fileno())
        _replace(page, self.markdown(surgery, all_facts))

    def close(self, run_id: UUID) -> None:
        self._open.pop(run_id, None)

    def is_open(self, run_id: UUID) -> bool:
        return run_id in self._open

    def tsv(self, facts: Iterable[Fact]) -> str:
        return _rows([COLUMNS, *self.rows(facts)])

    def markdown(self, surgery: Surgery, facts: Sequence[Fact]) -> str:
        last = next((fact for fact in reversed(facts) if fact.kind in _OF_THE_RUN), None)
        ended = last.at if last and last.kind is FactKind.SURGERY_ENDED else None
        lines = [
            f"# 手术 {surgery.surgery_id} 耗材消耗记录",
            "",
            f"- 开始：{self._readable(surgery.started_at)}",
            f"- 结束：{self._readable(ended) if ended else '进行中'}",
            f"- 摄像头：{'、'.join(surgery.cameras)}",
            "",
            "## 汇总",
            "",
            "| 物品编码 | 名称 | 数量 |",
            "|---|---|---:|",
        ]
        totals = counted(facts)
        lines += [
            f"| {_cell(total.item.item_id)} | {_cell(total.item.item_name)} | {total.quantity} |" for total in totals
        ]
        lines += ["", f"合计：{sum(total.quantity for total in totals)}", "", _DETAILS]
        lines += ["| 时间 | 摄像头 | 状态 | 物品编码 | 名称 | 数量 | 记账人 | Top1 | Top2 | Top3 | 说明 | 证据 |"]
        lines += ["|---|---|---|---|---|---:|---|---|---|---|---|---|"]
        for fact in facts:
            if fact.kind in STATUS:
                cells = [
                    self._readable(fact.timestamp or fact.at),
                    fact.camera,
                    STATUS[fact.kind],
                    fact.item.item_id if fact.item else "",
                    fact.item.item_name if fact.item else "",
                    str(fact.qty or ""),
                    fact.doctor_id,
                    *[f"{score.label} {score.score:.2f}" for score in fact.top],
                    *[""] * (3 - len(fact.top)),
                    fact.reason,
                    fact.evidence,
                ]
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        return "\n".join(lines) + "\n"

    def rows(self, facts: Iterable[Fact]) -> list[tuple[str, ...]]:
        """The lines of the log, cell by cell as in COLUMNS."""
        return [_clean(self._row(fact)) for fact in facts if fact.kind in STATUS]

    def _row(self, fact: Fact) -> tuple[str, ...]:
        scores = [text for score in fact.top for text in (score.label, f"{score.score:.4f}")]
        return (
            self._local(fact.timestamp or fact.at).isoformat(timespec="milliseconds"),
            fact.camera,
            STATUS[fact.kind],
            fact.item.item_id if fact.item else "",
            fact.item.item_name if fact.item else "",
            str(fact.qty),
            fact.doctor_id,
            *scores,
            *[""] * (6 - len(scores)),
            str(fact.confirmation_id or ""),
            fact.reason,
            fact.evidence,
        )

    def _local(self, at: datetime) -> datetime:
        return at.astimezone(self._zone)

    def _readable(self, at: datetime) -> str:
        return f"{self._local(at):%Y-%m-%d %H:%M:%S}"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar="\\").writerows(rows)
    return text.getvalue()


def _clean(cells: Sequence[str]) -> tuple[str, ...]:
    """On one line, whatever a name holds."""
    return tuple(" ".join(cell.split()) for cell in cells)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _lines_missing(text: str, whole: str) -> bool:
    return text.endswith("\n") and whole.startswith(text)


def _details_missing(text: str, whole: str) -> bool:
    """The head of an older page says other totals; its details are the first of those it should have."""
    (head, _, details), (whole_head, _, whole_details) = text.partition(_DETAILS), whole.partition(_DETAILS)
    same_title = head.partition("\n")[0] == whole_head.partition("\n")[0]
    return same_title and bool(details) and _lines_missing(details, whole_details)


def _mend(path: Path, whole: str, *, is_behind: Callable[[str, str], bool]) -> None:
    """Make the file hold exactly `whole`; what is there and was not written by us before is kept beside it."""
    if path.exists():
        found = path.read_bytes()
        if found == whole.encode():
            return
        try:
            is_ours = is_behind(found.decode(), whole)
        except UnicodeDecodeError:
            is_ours = False
        if not is_ours:
            aside = _free_name(path)
            path.rename(aside)
            log.warning("%s did not agree with the ledger: kept as %s, made again from the ledger", path, aside.name)
    _replace(path, whole)


def _free_name(path: Path) -> Path:
    numbers = itertools.count(1)
    return next(name for number in numbers if not (name := path.with_name(f"{path.name}.damaged-{number}")).exists())


def _replace(path: Path, text: str) -> None:
    """All of the new text or all of the old, also after a power cut."""
    temporary = path.with_suffix(path.suffix + ".part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
