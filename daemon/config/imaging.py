"""`[imaging]`: the imaging back ends, and the job that carries a picture there. Nothing of a vendor is built in."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from daemon.config.sections import Section


def _secret_from(name: str) -> SecretStr | None:
    return SecretStr(value) if (value := os.environ.get(name)) else None


class PathologySettings(Section):
    """Each URL is its own key, or base_url with the path that the back end is known or believed to use."""

    base_url: str | None = None
    login_url: str | None = None
    credentials_url: str | None = None
    callback_url: str | None = None
    create_url: str | None = None
    list_url: str | None = None
    # The seed's own site speaks plain HTTP in a private network; passwords cross that network unprotected.
    allow_http: bool = False
    ca_file: Path | None = None
    username: SecretStr | None = Field(default_factory=lambda: _secret_from("PATHOLOGY_USERNAME"))
    password: SecretStr | None = Field(default_factory=lambda: _secret_from("PATHOLOGY_PASSWORD"))
    # Before the token in the Authorization header.
    auth_scheme: str = Field("Bearer", pattern="^[A-Za-z]{1,16}$")
    # host or host:port in the place of the bucket's own address, for a private COS.
    cos_endpoint: str | None = Field(None, pattern=r"^(?:[A-Za-z0-9.-]+)(?::[0-9]{1,5})?$")
    cos_secure: bool = True
    cos_bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    cos_region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,64}$")
    # Between / in a COS key, so no / of its own.
    organization: str | None = Field(None, min_length=1, max_length=64, pattern=r"^[^/\\\x00-\x1f]+$")
    source: int = Field(3696, ge=0)
    diseases: dict[str, str] = Field({"6": "通用组织切片", "14": "消化道活检AI"}, min_length=1)
    part_size_mib: int = Field(8, ge=1, le=1024)
    upload_threads: int = Field(4, ge=1, le=16)
    poll_interval_s: float = Field(60.0, gt=0, le=3600)
    poll_for_h: float = Field(24.0, gt=0, le=720)
    connect_timeout_s: float = Field(10.0, gt=0, le=120)
    timeout_s: float = Field(60.0, gt=0, le=600)
    # Slides that lie there already may be named by a client; none where it is not set.
    slides_dir: Path | None = None

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together (PATHOLOGY_USERNAME, PATHOLOGY_PASSWORD)")
        return self


class FundusSettings(Section):
    """Two credentials that exclude each other: ultra-wide (aiType 12), and 45 degrees (aiType 0, 1, 2)."""

    base_url: str | None = None
    allow_http: bool = False
    ca_file: Path | None = None
    app_id: str | None = Field(
        default_factory=lambda: os.environ.get("FUNDUS_APPID") or None, pattern="^[A-Za-z0-9_-]{1,64}$"
    )
    token: SecretStr | None = Field(default_factory=lambda: _secret_from("FUNDUS_TOKEN"))
    app_id_45: str | None = Field(None, pattern="^[A-Za-z0-9_-]{1,64}$")
    token_45: SecretStr | None = None
    poll_interval_s: float = Field(10.0, gt=0, le=600)
    polls_max: int = Field(30, ge=1, le=10_000)
    polls_max_45: int = Field(18, ge=1, le=10_000)
    connect_timeout_s: float = Field(10.0, gt=0, le=120)
    # Of an upload; a query has a quarter of it.
    timeout_s: float = Field(120.0, gt=0, le=3600)


class ImagingSettings(Section):
    folder: Path = Path("var/imaging")
    # Jobs that run at once; the others queue.
    workers: int = Field(2, ge=1, le=16)
    queue_max: int = Field(1000, ge=1, le=100_000)
    upload_max_mib: int = Field(8192, ge=1, le=1_048_576)
    folder_gib_max: float = Field(100.0, gt=0, le=1_048_576)
    # How long a step that cannot reach its back end is tried again.
    retry_for_h: float = Field(24.0, gt=0, le=720)
    # The files of a job that has ended.
    keep_days: float = Field(30.0, gt=0, le=36_500)
    # Made when they are asked for: they look into the environment.
    pathology: PathologySettings = Field(default_factory=PathologySettings)
    fundus: FundusSettings = Field(default_factory=FundusSettings)
