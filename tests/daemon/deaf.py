"""A call that hears no stop, of the system's own: opening a pipe that nobody writes to."""

import os
import threading
from pathlib import Path

from daemon.bridge import left
from tests.waiting import until


class Deaf:
    """Whoever opens `pipe`, as a recording or else, hangs."""

    def __init__(self, pipe: Path) -> None:
        os.mkfifo(pipe)
        self.pipe = pipe

    def work(self, _stop: threading.Event) -> None:
        with self.pipe.open("rb"):
            pass

    async def let_go(self) -> None:
        """Until no thread hangs any more. One that only comes to open the pipe now is let go in the next turn."""

        def none_hangs() -> bool:
            # To write and to read, so that this open waits for nobody; closed again, it gives them an end of file.
            os.close(os.open(self.pipe, os.O_RDWR))
            return not left()

        await until(none_hangs)
