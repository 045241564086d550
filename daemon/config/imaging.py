"""`[imaging]`: the imaging back ends, and the job that carries a picture there. Nothing of a vendor is built in."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

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
    # How long an upload may take; a query has a quarter of it.
    timeout_s: float = Field(120.0, gt=0, le=3600)


_Bucket = Annotated[str, Field(pattern=r"^[a-z0-9$](?:[a-z0-9._-]{1,220}[a-z0-9])$")]
_HostPort = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?$")]


class RetinaSettings(Section):
    """OCT images to a KServe-v2 (Triton) server or to a local ONNX; results to a webhook, and to a bucket if asked."""

    # http(s)://host:port whatever is spoken there: https is TLS, http only on this machine or with allow_http.
    server_url: str | None = None
    protocol: Literal["grpc", "http"] = "grpc"
    model_name: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,128}$")
    model_version: str = Field("", pattern=r"^[0-9]{0,9}$")
    model_path: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    allow_http: bool = False
    ca_file: Path | None = None
    timeout_s: float = Field(60.0, gt=0, le=3600)
    connect_timeout_s: float = Field(10.0, gt=0, le=120)
    # One for each score of the model, in its order.
    labels: list[str] = Field([], max_length=200)
    # The size of the model's input, where the model leaves it open.
    width: int | None = Field(None, ge=8, le=4096)
    height: int | None = Field(None, ge=8, le=4096)
    # (pixel / 255 - mean) / std; a model of one channel uses the first.
    mean: list[float] = Field([0.0, 0.0, 0.0], min_length=3, max_length=3)
    std: list[float] = Field([1.0, 1.0, 1.0], min_length=3, max_length=3)
    # What turns the model's raw output into probabilities; none: it gives them itself.
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    # Pictures in one request to the server, and requests on their way at once; the server batches what meets there.
    batch_max: int = Field(8, ge=1, le=256)
    requests_max: int = Field(4, ge=1, le=64)
    image_max_mib: int = Field(512, ge=1, le=65_536)
    slices_max: int = Field(512, ge=1, le=10_000)
    # How many files of one folder in a bucket are taken.
    files_max: int = Field(500, ge=1, le=10_000)
    # What POST /bucket_invocations reads and writes; POST /bucket_invocations_azure_uae is always Azure Blob.
    bucket_store: Literal["gcs", "s3"] = "gcs"
    input_bucket: _Bucket | None = None
    output_bucket: _Bucket | None = None
    azure_input_bucket: _Bucket | None = None
    azure_output_bucket: _Bucket | None = None
    # What else a header may name.
    buckets: list[_Bucket] = Field([], max_length=100)
    azure_buckets: list[_Bucket] = Field([], max_length=100)
    gcs_credentials_file: Path | None = None
    # In the place of Google's own address.
    gcs_endpoint: str | None = None
    azure_connection_string: SecretStr | None = None
    s3_endpoint: _HostPort | None = None
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    s3_secure: bool = True
    # host or host:port; a header names no other.
    webhook_hosts: list[_HostPort] = Field([], max_length=100)
    webhook_secret: SecretStr | None = Field(None, min_length=16)
    webhook_ca_file: Path | None = None
    webhook_timeout_s: float = Field(10.0, gt=0, le=120)
    webhook_retry_for_h: float = Field(24.0, gt=0, le=720)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if self.model_path is not None and self.server_url is not None:
            raise ValueError("model_path (a local model) and server_url (a server) exclude each other")
        if self.server_url is not None and self.model_name is None:
            raise ValueError("server_url needs model_name, the model on that server")
        if min(self.std) <= 0:
            raise ValueError(f"std: expected three numbers above 0, got {self.std}")
        return self


class UltrasoundModels(Section):
    """Models of one dataset, in the place of those for all."""

    segmentation: Path | None = None
    classification: Path | None = None


class UltrasoundSettings(Section):
    """Local ONNX models: one that takes prompts and does both tasks, or one for each task, or for each dataset."""

    model: Path | None = None
    segmentation_model: Path | None = None
    classification_model: Path | None = None
    # Four classes, for private_Breast_luminal.
    classification_model_4: Path | None = None
    models: dict[str, UltrasoundModels] = Field({}, max_length=100)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(2, ge=1, le=64)
    # classification/<dataset>/... and segmentation/<dataset>/imgs/...; random samples come from here.
    data_dir: Path | None = None
    upload_dir: Path = Path("var/ultrasound/api_in")
    output_dir: Path = Path("var/ultrasound/api_out")
    image_max_mib: int = Field(50, ge=1, le=1024)
    megapixels_max: float = Field(50.0, gt=0, le=1000)
    # How many records one call may bring, and how many pictures one run of a model takes.
    records_max: int = Field(256, ge=1, le=10_000)
    batch_max: int = Field(16, ge=1, le=256)
    # Calls that wait while another is worked on.
    queue_max: int = Field(32, ge=0, le=1000)
    # Uploads and answers are deleted after so long, and, oldest first, where they are too much.
    keep_days: float = Field(30.0, gt=0, le=36_500)
    folder_gib_max: float = Field(20.0, gt=0, le=1_048_576)


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
    retina: RetinaSettings = RetinaSettings()
    ultrasound: UltrasoundSettings = UltrasoundSettings()
