"""What the tests of COS uploads share: a slide, the server, and an upload between them that can be stopped."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imaging.cos.slide import CosCredentials, CosRules, Uploaded, file_md5, slide_key, upload
from imaging.errors import Stopped
from tests import rules
from tests.servers.cos import CosServer

MIB = 2**20


def soon(_attempts: int) -> float:
    """Seconds to wait after a request that failed."""
    return 0.01


@dataclass
class World:
    """A slide, the server, and what an upload is called with."""

    server: CosServer
    folder: Path
    slide: Path
    md5: str
    key: str
    rules: CosRules
    stop: threading.Event = field(default_factory=threading.Event)
    progress: list[tuple[int, int]] = field(default_factory=list)
    # When the credentials were asked for: what had been done then.
    fetched: list[int] = field(default_factory=list)

    @property
    def record(self) -> Path:
        return self.folder / "records" / "upload.json"

    def credentials(self) -> CosCredentials:
        self.fetched.append(len(self.progress))
        return CosCredentials.read(self.server.issue(self.key))

    def upload(self, **changes: Any) -> Uploaded:
        told: dict[str, Any] = {"rules": self.rules, "credentials": self.credentials, "md5": self.md5}
        told |= {"record": self.record, "wait_s": soon, "stop": self.stop, "progress": self.note} | changes
        return upload(self.slide, self.key, **told)

    def note(self, done: int, total: int) -> None:
        self.progress.append((done, total))

    def arrived(self) -> bool:
        path = self.server.objects.get(self.key)
        return path is not None and path.read_bytes() == self.slide.read_bytes()

    def times_asked(self) -> dict[int, int]:
        return {part: times for (_, part), times in self.server.asked.items()}

    def rewrite(self, offset: int, content: bytes) -> None:
        with self.slide.open("r+b") as file:
            file.seek(offset)
            file.write(content)


def built(server: CosServer, folder: Path, size: int) -> World:
    slide = folder / "切片 一.svs"
    with slide.open("wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
    md5 = file_md5(slide, stop=threading.Event())
    key = slide_key("20260102", "测试 医院", md5, slide.name)
    known = rules.cos(
        bucket=server.bucket,
        region=server.region,
        endpoint=f"127.0.0.1:{server.port}",
        secure=False,
        part_size_mib=1,
    )
    return World(server, folder, slide, md5, key, known)


def stopped_after(world: World, parts: int) -> None:
    """An upload that was stopped when COS had so many parts."""
    world.server.holds_after = parts

    def watch() -> None:
        world.server.wait_for_parts(parts)
        world.stop.set()

    watching = threading.Thread(target=watch)
    watching.start()
    with pytest.raises(Stopped):
        world.upload()
    watching.join()
    world.server.holds_after = None
    world.stop.clear()
    world.progress.clear()
    assert sum(len(upload.parts) for upload in world.server.uploads.values()) == parts
