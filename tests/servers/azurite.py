"""An Azure Blob Storage for tests: Azurite, which checks signatures. scripts/azurite puts it below .venv."""

from __future__ import annotations

import shutil
from pathlib import Path

from azure.storage.blob import BlobServiceClient, ContentSettings

from tests.servers.process import ServerProcess

ACCOUNT = "orwatchtest"
ACCOUNT_KEY = "b3J3YXRjaC10ZXN0LWtleS1kby1ub3QtcHJpbnQ="
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


class AzuriteServer(ServerProcess):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

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

    def command(self) -> list[str]:
        node = shutil.which("node")
        assert node, why_unavailable()
        program = [node, str(_PROGRAM), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        return [*program, "--location", str(self._folder), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]

    @property
    def environment(self) -> dict[str, str]:
        return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}", "PATH": str(Path(self.command()[0]).parent)}
