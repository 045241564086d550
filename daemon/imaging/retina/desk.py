"""What clients of the retina back end ask for, checked whole before anything is queued: what is queued can run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from daemon.bridge import off_loop
from daemon.domain.errors import ImagingInputInvalid, ImagingRequestInvalid
from daemon.domain.imaging import JobKind
from daemon.imaging.jobs.accesses import Who
from daemon.imaging.jobs.asking import Asked, Received, Webhook, refusing
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.retina.job import INFER, ConfiguredBuckets, result_path
from imaging.buckets.store import allowed_bucket, check_size, checked_location, utf8_header
from imaging.errors import ImagingError
from imaging.retina.analysis import Retina
from imaging.retina.parameters import parse_parameters

_EXAMINATION_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Buckets of one kind. input, output: where a request names none. allowed: what it may name besides."""

    name: str
    input: str | None
    output: str | None
    allowed: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """As the client sent them."""

    inference_parameters: str | None
    webhook_url: str | None
    examination_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketHeaders(Headers):
    input_location: str | None
    input_bucket_name: str | None
    output_bucket_name: str | None
    write_to_bucket: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was queued, in the order of the files. result_path: None where no result is to be written."""

    job_id: UUID
    filename: str
    result_path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Headers that can be worked with. inputs: of each job that comes of them."""

    webhook: Webhook
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetinaDesk:
    """bucket_store, azure_store: what the two routes for buckets work with."""

    imaging: Imaging
    retina: Retina
    buckets: ConfiguredBuckets
    bucket_store: Store
    azure_store: Store
    files_max: int
    image_bytes_max: int

    async def is_ready(self) -> bool:
        """Whether the model can be asked now."""
        try:
            await self.retina.check()
        except ImagingError:
            return False
        return True

    async def check(self, headers: Headers) -> Checked:
        """Before an upload is received. Raises Refused kinds."""
        checked = self._checked(headers)
        with refusing():
            await self.retina.check()
        return checked

    async def invoke(self, job_id: UUID, image: Received, checked: Checked, who: Who, now: datetime) -> Sent:
        """One uploaded image. Raises Refused kinds."""
        inputs = {**checked.inputs, "filename": image.name, "source": None, "output": None}
        asked = Asked(
            job_id=job_id,
            kind=JobKind.RETINA,
            inputs=inputs,
            received=[image],
            step=INFER,
            webhook=checked.webhook,
        )
        await self.imaging.create(asked, who, now)
        return Sent(job_id=job_id, filename=image.name, result_path=None)

    async def invoke_bucket(self, store: Store, headers: BucketHeaders, who: Who, now: datetime) -> list[Sent]:
        """An image, or each of a folder, in natural order. Raises Refused kinds; then nothing is queued."""
        checked = self._checked(headers)
        await self.imaging.check_room(JobKind.RETINA, 0)
        with refusing():
            buckets, location = self.buckets.of(store.name), checked_location(headers.input_location)
            source = allowed_bucket(
                headers.input_bucket_name, default=store.input, allowed=store.allowed, field="Input-Bucket-Name"
            )
            target = None
            if headers.write_to_bucket:
                target = allowed_bucket(
                    headers.output_bucket_name, default=store.output, allowed=store.allowed, field="Output-Bucket-Name"
                )
                await off_loop(buckets.check, target)
            await self.retina.check()
            found = await off_loop(buckets.find, source, location, files_max=self.files_max)
            for each in found:
                check_size(each, self.image_bytes_max)
        await self.imaging.check_room(JobKind.RETINA, sum(each.size for each in found))
        asked, sent = [], []
        for each in found:
            job_id, name = uuid4(), each.key.rpartition("/")[2]
            path = result_path(str(job_id)) if target else None
            inputs = {
                **checked.inputs,
                "filename": name,
                "source": {
                    "store": store.name,
                    "bucket": source,
                    "object": {
                        "key": each.key,
                        "size": each.size,
                        "media_type": each.media_type,
                        "version": each.version,
                    },
                },
                "output": {"store": store.name, "bucket": target, "path": path} if target else None,
            }
            asked.append(Asked(job_id=job_id, kind=JobKind.RETINA, inputs=inputs, webhook=checked.webhook))
            sent.append(Sent(job_id=job_id, filename=name, result_path=path))
        await self.imaging.create_all(asked, who, now)
        return sent

    def _checked(self, headers: Headers) -> Checked:
        """All that can be seen in the headers alone."""
        if not headers.webhook_url:
            raise ImagingRequestInvalid("缺少 Webhook-Url：推理结果发往此地址。", field="Webhook-Url")
        examination_id = _examination(headers.examination_id)
        with refusing():
            parameters = parse_parameters(headers.inference_parameters)
        url = self.imaging.check_webhook(headers.webhook_url)
        inputs = {
            "examination_id": examination_id,
            "parameters": parameters.model_dump(mode="json"),
            "webhook": urlsplit(url).netloc,
        }
        line = f"examination:{examination_id}" if examination_id else None
        return Checked(webhook=Webhook(url=url, line=line), inputs=inputs)


def _examination(value: str | None) -> str | None:
    """Raises ImagingInputInvalid."""
    if value is None or not (clean := utf8_header(value).strip()):
        return None
    if len(clean) > _EXAMINATION_MAX or not clean.isprintable():
        raise ImagingInputInvalid(
            f"Examination-ID：应为至多 {_EXAMINATION_MAX} 个可打印字符。", field="Examination-ID", value=clean[:40]
        )
    return clean
