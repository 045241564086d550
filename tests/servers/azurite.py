"""An Azure Blob Storage for tests: Azurite, which checks signatures. scripts/azurite puts it below .venv."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from azure.storage.blob import BlobServiceClient, ContentSettings

from tests.servers.gcs import answers

ACCOUNT = "orwatchtest"
ACCOUNT_KEY = "b3J3YXRjaC10ZXN0LWtleS1kby1ub3QtcHJpbnQ="
START_DEADLINE_S = 40.0
_PROGRAM = Path(__file__).parents[2] / ".venv/azurite/node_modules/azurite/dist/src/blob/main.js"


def why_unavailable() -> str:
    """What is missing; "" for nothing."""
    if shutil.which("node") is None:
        return "Azurite needs node (apt-get install nodejs npm), then: bash scripts/azurite"
    return "" if _PROGRAM.is_file() else "Azurite is not installed: bash scripts/azurite"


def connection(port: int, key: str = ACCOUNT_KEY) -> str:
    """The connection string."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )


class AzuriteServer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def connection_string(self) -> str:
        return connection(self.port)

    def make(self, bucket: str) -> None:
        with BlobServiceClient.from_connection_string(self.connection_string()) as client:
            client.create_container(bucket)

    def put(self, bucket: str, key: str, content: bytes, media_type: str) -> None:
        with BlobServiceClient.from_connection_string(self.connection_string()) as client:
            client.get_blob_client(bucket, key).upload_blob(
                content, overwrite=True, content_settings=ContentSettings(content_type=media_type)
            )

    def start(self) -> None:
        node = shutil.which("node")
        assert node, why_unavailable()
        command = [node, str(_PROGRAM), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(
            [*command, "--location", str(self._folder), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)],
            env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}", "PATH": str(Path(node).parent)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        answers(self.port, START_DEADLINE_S, self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
