"""What is remembered on disk of a multipart upload that is under way: enough to find it again at COS, and no secret.

The parts are not in it: which ones came is asked of COS, so that a record is as true after a crash as before.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaging.errors import InputInvalid

log = logging.getLogger(__name__)

_MAX = 64 * 2**10


class Record(BaseModel):
    """What is known of one upload to one place."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bucket: str
    region: str
    key: str
    md5: str = Field(pattern="^[0-9a-f]{32}$")
    size: int = Field(gt=0)
    part_size: int = Field(ge=2**20, le=5 * 2**30)
    upload_id: str = Field(min_length=1, max_length=1024)


@dataclass(frozen=True, slots=True)
class RecordFile:
    """Replaced whole, so that a crash leaves the old one or the new one. Mode 0600. Raises InputInvalid of the disk."""

    path: Path

    def read(self) -> Record | None:
        """None where there is none, or none that can be read: the upload starts afresh then."""
        try:
            with self.path.open("rb") as file:
                return Record.model_validate_json(file.read(_MAX))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            log.warning("upload record %s cannot be read, starting afresh: %d errors", self.path, error.error_count())
            return None
        except OSError as error:
            raise self._unusable(error) from None

    def write(self, record: Record) -> None:
        self._do(lambda: self._replace(record.model_dump_json(indent=1).encode()))

    def delete(self) -> None:
        self._do(lambda: self.path.unlink(missing_ok=True))

    def _replace(self, content: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(self.path.name + ".new")
        # One of an earlier crash may have another mode.
        new.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> InputInvalid:
        name = self.path.name
        return InputInvalid(f"续传记录无法读写：{name}（{error.strerror}）", field="record", value=name)
