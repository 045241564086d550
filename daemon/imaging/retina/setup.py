"""From `[imaging.retina]` to its back end: the model, the buckets, the webhook, and the desk that takes requests."""

from typing import TYPE_CHECKING

from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.config.imaging import RetinaSettings
from daemon.domain.imaging import JobKind
from daemon.imaging.backend import BackEnd, Site
from daemon.imaging.jobs.steps import JobBackEnd
from imaging.webhook import Webhook, WebhookRules

if TYPE_CHECKING:
    from fastapi import APIRouter

    from daemon.imaging.jobs.jobs import Imaging
    from daemon.imaging.retina.desk import RetinaDesk
    from daemon.imaging.retina.job import ConfiguredBuckets, RetinaGateway
    from imaging.buckets.azure import AzureRules
    from imaging.buckets.gcs import GcsRules
    from imaging.buckets.s3 import S3Rules
    from imaging.buckets.store import Buckets
    from imaging.retina.analysis import Retina
    from imaging.retina.contract import RetinaRules


def retina_back_end(site: Site) -> BackEnd:
    """The model and the buckets are made once, for the jobs and for the desk that takes requests."""
    from daemon.imaging.retina.notice import notice
    from daemon.imaging.retina.routes import PREFIXES, UPLOADS, routes

    gateway = _gateway_of(site.settings) if is_retina_configured(site.settings) else None

    def routers(imaging: "Imaging") -> "list[APIRouter]":
        desk = _desk_of(site.settings, imaging, gateway.retina, gateway.buckets) if gateway is not None else None
        return [routes(imaging, desk, prefix=prefix) for prefix in PREFIXES]

    return BackEnd(
        name="retina",
        jobs=JobBackEnd(
            kind=JobKind.RETINA,
            gateway=gateway,
            missing="server_url 与 model_name，或 model_path",
            notice=notice,
        ),
        routers=routers,
        # What is around the image in a form is far less than this.
        body_bytes_max=dict.fromkeys(UPLOADS, (site.settings.imaging.retina.image_max_mib + 1) * 2**20),
    )


def is_retina_configured(settings: Settings) -> bool:
    return settings.imaging.retina.server_url is not None or settings.imaging.retina.model_path is not None


def retina_of(settings: Settings) -> "Retina":
    """Nothing is loaded and nothing is connected."""
    from imaging.retina.analysis import Retina

    return Retina(retina_rules_of(settings.imaging.retina), off_loop=off_loop)


def retina_rules_of(retina: RetinaSettings) -> "RetinaRules":
    from imaging.retina.contract import RetinaRules

    return RetinaRules(
        server_url=retina.server_url,
        protocol=retina.protocol,
        model_name=retina.model_name,
        model_version=retina.model_version,
        model_path=retina.model_path,
        device=retina.device,
        allow_http=retina.allow_http,
        ca_file=retina.ca_file,
        timeout_s=retina.timeout_s,
        connect_timeout_s=retina.connect_timeout_s,
        labels=tuple(retina.labels),
        width=retina.width,
        height=retina.height,
        mean=(retina.mean[0], retina.mean[1], retina.mean[2]),
        std=(retina.std[0], retina.std[1], retina.std[2]),
        activation=retina.activation,
        batch_max=retina.batch_max,
        requests_max=retina.requests_max,
        slices_max=retina.slices_max,
    )


def webhook_of(settings: Settings) -> Webhook:
    """What was promised is owed even where the back end is no longer configured."""
    return Webhook(webhook_rules_of(settings.imaging.retina))


def webhook_rules_of(retina: RetinaSettings) -> WebhookRules:
    return WebhookRules(
        secret=retina.webhook_secret.get_secret_value() if retina.webhook_secret else None,
        hosts=tuple(retina.webhook_hosts),
        ca_file=retina.webhook_ca_file,
        timeout_s=retina.webhook_timeout_s,
        allow_http=retina.allow_http,
    )


def buckets_of(settings: Settings) -> "ConfiguredBuckets":
    from daemon.imaging.retina.job import ConfiguredBuckets

    retina, stores = settings.imaging.retina, dict[str, "Buckets"]()
    if retina.bucket_store == "gcs" and (retina.gcs_credentials_file or retina.gcs_endpoint):
        stores["gcs"] = _gcs(retina)
    if retina.bucket_store == "s3" and retina.s3_endpoint:
        stores["s3"] = _s3(retina)
    if retina.azure_connection_string is not None:
        stores["azure"] = _azure(retina)
    return ConfiguredBuckets(stores)


def _gateway_of(settings: Settings) -> "RetinaGateway":
    from daemon.imaging.retina.job import RetinaGateway

    return RetinaGateway(retina_of(settings), buckets_of(settings), image_bytes_max=_image_bytes_max(settings))


def _desk_of(settings: Settings, imaging: "Imaging", model: "Retina", buckets: "ConfiguredBuckets") -> "RetinaDesk":
    from daemon.imaging.retina.desk import RetinaDesk, Store

    retina = settings.imaging.retina
    return RetinaDesk(
        imaging=imaging,
        retina=model,
        buckets=buckets,
        bucket_store=Store(
            name=retina.bucket_store,
            input=retina.input_bucket,
            output=retina.output_bucket,
            allowed=frozenset(retina.buckets),
        ),
        azure_store=Store(
            name="azure",
            input=retina.azure_input_bucket or retina.input_bucket,
            output=retina.azure_output_bucket or retina.output_bucket,
            allowed=frozenset(retina.azure_buckets),
        ),
        files_max=retina.files_max,
        image_bytes_max=_image_bytes_max(settings),
    )


def _image_bytes_max(settings: Settings) -> int:
    return settings.imaging.retina.image_max_mib * 2**20


def _gcs(retina: RetinaSettings) -> "Buckets":
    from imaging.buckets.gcs import GcsBuckets

    return GcsBuckets(gcs_rules_of(retina))


def gcs_rules_of(retina: RetinaSettings) -> "GcsRules":
    from imaging.buckets.gcs import GcsRules

    return GcsRules(
        credentials_file=retina.gcs_credentials_file,
        endpoint=retina.gcs_endpoint,
        timeout_s=retina.timeout_s,
        connect_timeout_s=retina.connect_timeout_s,
    )


def _s3(retina: RetinaSettings) -> "Buckets":
    from imaging.buckets.s3 import S3Buckets

    return S3Buckets(s3_rules_of(retina))


def s3_rules_of(retina: RetinaSettings) -> "S3Rules":
    from imaging.buckets.s3 import S3Rules

    return S3Rules(
        endpoint=retina.s3_endpoint,
        access_key=retina.s3_access_key.get_secret_value() if retina.s3_access_key else None,
        secret_key=retina.s3_secret_key.get_secret_value() if retina.s3_secret_key else None,
        region=retina.s3_region,
        secure=retina.s3_secure,
        timeout_s=retina.timeout_s,
        connect_timeout_s=retina.connect_timeout_s,
    )


def _azure(retina: RetinaSettings) -> "Buckets":
    from imaging.buckets.azure import AzureBuckets

    return AzureBuckets(azure_rules_of(retina))


def azure_rules_of(retina: RetinaSettings) -> "AzureRules":
    from imaging.buckets.azure import AzureRules

    connection_string = retina.azure_connection_string
    return AzureRules(
        connection_string=connection_string.get_secret_value() if connection_string else None,
        timeout_s=retina.timeout_s,
        connect_timeout_s=retina.connect_timeout_s,
    )
