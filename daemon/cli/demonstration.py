"""The demo: daemon and HIS in one process, speaking to each other over real HTTP on loopback.

The daemon is composed as `orwatch run` composes it. The surgery is started over HTTP, followed over the events
WebSocket and, at the end, ended over HTTP; nothing here reaches into the daemon. When the recordings are over, the
surgery goes on for as long as somebody may want to answer its question.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from pydantic import SecretStr
from rich import box
from rich.markup import escape
from rich.table import Table

from daemon import log as logs
from daemon.api.schemas import SurgeryPage
from daemon.app import CannotListen, serving, told_to_stop
from daemon.bridge import off_loop
from daemon.cli.client import START_TIMEOUT_S, Daemon, Follower, Refused
from daemon.cli.failures import CommandFailed
from daemon.cli.options import console
from daemon.cli.screen import Commands, screen
from daemon.config import Settings, load
from daemon.config.sections import (
    AuthSettings,
    CameraSettings,
    CatalogueSettings,
    DatabaseSettings,
    LogSettings,
    ModelSettings,
    ObjectSettings,
    RoomSettings,
    ServerSettings,
)
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.surgery import SurgeryState

ASSETS = Path(__file__).parents[1] / "demo_assets"
CAMERAS = ("or-cam-01", "or-cam-02")
FIRST_SURGERY = 100001
HOST = "127.0.0.1"

# After the last picture, for what it shows to be decided and told.
_TAIL_S = 2.0


class Demonstration:
    def __init__(self, folder: Path, *, port: int, seconds: float | None, waits: bool) -> None:
        """seconds: how long to watch, None for the recordings' length. waits: leave the API up until Ctrl-C."""
        self._folder = folder
        self._seconds = seconds
        self._waits = waits
        self._settings = settings_in(folder, port=port, loop=seconds is not None)
        self._daemon = Daemon(f"http://{HOST}:{port}")
        self._out = console()
        self._surgery_id = ""

    async def run(self) -> None:
        """Raises CommandFailed where the port is taken, ConfigError, ModelError, Refused."""
        try:
            logs.configure(self._settings.logs.level, self._settings.logs.format)
            # The screen is for the surgery.
            with _logging_to(self._folder / "daemon.log"):
                async with serving(self._settings):
                    await self._show()
        except CannotListen as error:
            hint = "Choose another port with --port; `ss -ltnp` shows who listens there"
            raise CommandFailed(str(error), hint=hint) from error

    async def _show(self) -> None:
        self._surgery_id = await self._unused_id()
        self._introduce()
        with told_to_stop() as interrupted:
            await self._watch(interrupted)
            await self._show_result()
            if self._waits and not interrupted.is_set():
                await self._invite()
                await interrupted.wait()
        await self._end()

    async def _unused_id(self) -> str:
        """A surgery of its own also where --data holds earlier demos; one that was killed in the middle is ended."""
        page = SurgeryPage.model_validate(await self._daemon.request("GET", "/client/surgeries?limit=200"))
        for row in page.surgeries:
            if row.state is SurgeryState.RUNNING:
                await self._daemon.request("POST", "/client/surgeries/end", {"surgery_id": row.surgery_id})
        taken = {row.surgery_id for row in page.surgeries}
        return next(number for number in map(str, itertools.count(FIRST_SURGERY)) if number not in taken)

    def _introduce(self) -> None:
        url = self._daemon.url
        self._say(
            f"[bold]orwatch demo[/]: the daemon listens on {url}, data and daemon.log in {escape(str(self._folder))}"
        )
        self._say(f"surgery {self._surgery_id} starts as the HIS would start it, with {' and '.join(CAMERAS)}:")
        body = f'{{"surgery_id": "{self._surgery_id}", "camera_ids": ["{CAMERAS[0]}", "{CAMERAS[1]}"]}}'
        self._say(f"  curl -sS {url}/client/surgeries/start -H 'Content-Type: application/json' -d '{body}'")

    async def _watch(self, interrupted: asyncio.Event) -> None:
        """Start the surgery and show it until the recordings are over, the time is up or somebody interrupts."""
        start = {"surgery_id": self._surgery_id, "camera_ids": list(CAMERAS)}
        await self._daemon.request("POST", "/client/surgeries/start", start, timeout_s=START_TIMEOUT_S)
        length_s = self._seconds or await off_loop(_length_s) + _TAIL_S
        with screen(self._surgery_id, self._daemon.url) as view:
            following = asyncio.create_task(Follower(self._daemon, self._surgery_id, view).run())
            stopped = asyncio.create_task(interrupted.wait())
            done, going_on = await asyncio.wait(
                [following, stopped], timeout=length_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in going_on:
                task.cancel()
            await asyncio.gather(*going_on, return_exceptions=True)
            for task in done:
                task.result()

    async def _show_result(self) -> None:
        self._say("\nthe HIS asks for the result:")
        self._say(f"  curl -sS {self._daemon.url}/client/surgeries/{self._surgery_id}/result")
        try:
            result = await self._daemon.request("GET", f"/client/surgeries/{self._surgery_id}/result")
        except Refused as refused:
            self._say(escape(str(refused)))
            return
        table = Table("item_id", "name", "quantity", box=box.SIMPLE_HEAD)
        table.columns[2].justify = "right"
        for row in result["summary"]:
            table.add_row(escape(row["item_id"]), escape(row["item_name"]), str(row["total_quantity"]))
        self._out.print(table)
        self._say(escape(result["message"]))

    async def _invite(self) -> None:
        """What there is to try while the API is up."""
        url, overview = self._daemon.url, await self._daemon.overview(self._surgery_id)
        for question in overview.questions:
            if question.state is ConfirmationState.PENDING:
                self._say(f"\n[bold yellow]open question[/] {escape(question.prompt_text)}  Answer it with one of")
                for command in Commands(self._surgery_id, url).of(question):
                    self._say(f"  {escape(command)}")
        self._say(f"\nthe surgery goes on and the API is up: [bold]{url}/docs[/] has every route.")
        self._say(f"in another terminal: orwatch watch {self._surgery_id} --url {url}")
        self._say("Ctrl-C ends the surgery and the demo.")

    async def _end(self) -> None:
        await self._daemon.request("POST", "/client/surgeries/end", {"surgery_id": self._surgery_id})
        overview = await self._daemon.overview(self._surgery_id)
        booked = sum(row.total_quantity for row in overview.summary)
        unanswered = sum(each.state is ConfirmationState.UNRESOLVED for each in overview.questions)
        told = f"{booked} booked" + (f", {unanswered} question(s) nobody answered, not booked" if unanswered else "")
        self._say(f"\nsurgery {self._surgery_id} has ended: {told}. Its consumption log:")
        pages = self._settings.logs.folder / "consumption"
        for page in sorted(await off_loop(lambda: list(pages.glob(f"{self._surgery_id}_*.*")))):
            self._say(f"  {escape(str(page))}")

    def _say(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)


def settings_in(folder: Path, *, port: int, loop: bool) -> Settings:
    """The embedded defaults on the shipped recordings, all data in one folder; the environment changes none of it."""
    cameras = {name: CameraSettings(url=SecretStr(str(ASSETS / f"{name}.mp4")), loop=loop) for name in CAMERAS}
    return load(None).model_copy(
        update={
            "server": ServerSettings(host=HOST, port=port),
            "auth": AuthSettings(mode="none"),
            "database": DatabaseSettings(ledger=folder / "ledger.db"),
            "catalogue": CatalogueSettings(path=ASSETS / "catalogue.csv"),
            "cameras": cameras,
            "rooms": {"or-1": RoomSettings(cameras=list(CAMERAS))},
            "model": ModelSettings(path=ASSETS / "consumables.onnx"),
            "logs": LogSettings(folder=folder / "log"),
            "objects": ObjectSettings(folder=folder / "objects", spool=folder / "spool"),
        }
    )


def _length_s() -> float:
    """How long the longest recording is."""
    lengths_s = []
    for name in CAMERAS:
        with av.open(str(ASSETS / f"{name}.mp4")) as recording:
            lengths_s.append((recording.duration or 0) / av.time_base)
    return max(lengths_s)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    with path.open("a", encoding="utf-8") as file:
        handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
        streams = [handler.setStream(file) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, streams, strict=True):
                handler.setStream(stream)
