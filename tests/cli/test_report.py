"""`orwatch report` reads a surgery from the ledger file and changes nothing, whoever else has it open."""

import asyncio
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from daemon.cli.root import orwatch
from daemon.services.observe import observe
from daemon.storage import migrate
from daemon.storage.database import Unit, open_engine
from tests.cli.conftest import Done
from tests.daemon.rows import CANDIDATES, at, saved, seen, surgery
from tests.daemon.services.test_settle import RULES


async def _nobody(_facts: object) -> None: ...


async def booked(ledger: Path, *, second: float = 0, run_is_new: bool = True) -> None:
    engine = open_engine(ledger)
    unit = Unit(engine, _nobody)
    run = surgery()
    if run_is_new:
        await saved(unit, run)
    async with unit.read() as tx:
        latest = await tx.surgeries.latest(run.surgery_id)
    assert latest is not None
    await observe(unit, latest, CANDIDATES, seen(second), RULES, at(second + 1))
    await engine.dispose()


@pytest.fixture
def ledger(tmp_path: Path, config: Callable[..., Path]) -> Path:
    path = tmp_path / "ledger.db"
    config(f'[database]\nledger = "{path}"\n[surgery]\ntimezone = "Asia/Shanghai"\n')
    migrate.ensure(path)
    asyncio.run(booked(path))
    return path


def test_the_record_is_printed_or_written_in_every_form(
    ledger: Path, call: Callable[..., Done], tmp_path: Path
) -> None:
    before = hashlib.sha256(ledger.read_bytes()).digest()
    printed = call("report", "100001")
    assert (printed.code, printed.err) == (0, "")
    assert "| HC001 | 纱布 | 1 |" in printed.out
    assert "2026-04-21T10:30:00.000+08:00\ta\t已记账\tHC001" in call("report", "100001", "--format", "tsv").out
    csv, xlsx = tmp_path / "r.csv", tmp_path / "r.xlsx"
    assert call("report", "100001", "--format", "csv", "--out", csv).out == f"wrote {csv}\n"
    assert csv.read_bytes().startswith(b"\xef\xbb\xbf")
    assert call("report", "100001", "--format", "xlsx", "--out", xlsx).code == 0
    assert openpyxl.load_workbook(io.BytesIO(xlsx.read_bytes()))["汇总"]["C2"].value == 1
    assert hashlib.sha256(ledger.read_bytes()).digest() == before


def test_a_ledger_in_use_shows_what_was_committed_last(ledger: Path, call: Callable[..., Done]) -> None:
    async def writer() -> Done:
        engine = open_engine(ledger)
        unit = Unit(engine, _nobody)
        async with unit.read() as tx:
            run = await tx.surgeries.latest("100001")
        assert run is not None
        await observe(unit, run, CANDIDATES, seen(60), RULES, at(61))
        async with unit.begin() as tx:
            await tx.surgeries.save(run)  # a transaction of the daemon is under way
            done = await asyncio.to_thread(call, "report", "100001")
        await engine.dispose()
        return done

    assert "| HC001 | 纱布 | 2 |" in asyncio.run(writer()).out


def test_a_ledger_that_may_only_be_read_is_read(ledger: Path, call: Callable[..., Done]) -> None:
    ledger.chmod(0o444)
    ledger.parent.chmod(0o555)
    try:
        assert "| HC001 | 纱布 | 1 |" in call("report", "100001").out
    finally:
        ledger.parent.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("12345",), 2, "expected six digits"),
        (("999999",), 1, "no surgery 999999"),
        (("100001", "--format", "pdf"), 2, "pdf"),
        (("100001", "--out", "/no/such/folder/x"), 1, "No such file"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(
    ledger: Path, call: Callable[..., Done], arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = call("report", *arguments)
    assert done.code == code, done
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_no_ledger_and_another_schema_are_said(
    tmp_path: Path, config: Callable[..., Path], call: Callable[..., Done]
) -> None:
    config(f'[database]\nledger = "{tmp_path / "none.db"}"\n')
    done = call("report", "100001")
    assert (done.code, "no ledger there" in done.err) == (1, True)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "none.db").write_bytes(b"rubbish" * 100)
    assert "not a ledger database" in call("report", "100001").err


def test_the_command_is_listed() -> None:
    assert "report" in {command.name or command.callback.__name__ for command in orwatch.registered_commands}  # type: ignore[union-attr]
