"""From `[imaging.retina]` to what works for it: the model, the buckets, the webhook, and who takes requests."""

from typing import TYPE_CHECKING

from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.config.imaging import RetinaSettings
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.jobs.steps import Gateway
from imaging.webhook import Webhook, WebhookRules

if TYPE_CHECKING:
    from daemon.imaging.retina.desk import RetinaDesk
    from daemon.imaging.retina.job import ConfiguredBuckets, RetinaGateway
    from imaging.buckets.store import Buckets
    from imaging.retina.analysis import Retina


def is_retina_configured(settings: Settings) -> bool:
    return settings.imaging.retina.server_url is not None or settings.imaging.retina.model_path is not None


def retina_of(settings: Settings) -> "Retina":
    """Nothing is loaded and nothing is connected."""
    from imaging.retina.analysis import Retina, RetinaRules

    retina = settings.imaging.retina
    rules = RetinaRules(
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
    return Retina(rules, off_loop=off_loop)


def webhook_of(settings: Settings) -> Webhook:
    """What was promised is owed even where the back end is no longer configured."""
    retina = settings.imaging.retina
    rules = WebhookRules(
        secret=retina.webhook_secret.get_secret_value() if retina.webhook_secret else None,
        hosts=tuple(retina.webhook_hosts),
        ca_file=retina.webhook_ca_file,
        timeout_s=retina.webhook_timeout_s,
        allow_http=retina.allow_http,
    )
    return Webhook(rules)


def buckets_of(settings: Settings) -> "ConfiguredBuckets":
    from daemon.imaging.retina.job import ConfiguredBuckets

    retina, stores = settings.imaging.retina, dict[str, "Buckets"]()
    if retina.bucket_store == "gcs" and (retina.gcs_credentials_file or retina.gcs_endpoint):
        stores["gcs"] = _gcs(retina)
    if retina.bucket_store == "s3" and retina.s3_endpoint:
        stores["s3"] = _s3(retina)
    if retina.azure_connection_string is not None:
        stores["azure"] = _azure(retina, retina.azure_connection_string.get_secret_value())
    return ConfiguredBuckets(stores)


def retina_gateway_of(settings: Settings) -> "RetinaGateway":
    from daemon.imaging.retina.job import RetinaGateway

    bytes_max = settings.imaging.retina.image_max_mib * 2**20
    return RetinaGateway(retina_of(settings), buckets_of(settings), image_bytes_max=bytes_max)


def desk_of(settings: Settings, imaging: Imaging, gateway: Gateway | None) -> "RetinaDesk | None":
    """Over the same model and buckets as the jobs. None where the back end is not configured."""
    if gateway is None:
        return None
    from daemon.imaging.retina.desk import RetinaDesk
    from daemon.imaging.retina.job import RetinaGateway

    assert isinstance(gateway, RetinaGateway)
    return RetinaDesk(
        imaging=imaging,
        retina=gateway.retina,
        buckets=gateway.buckets,
        files_max=settings.imaging.retina.files_max,
        image_bytes_max=settings.imaging.retina.image_max_mib * 2**20,
    )


def _gcs(retina: RetinaSettings) -> "Buckets":
    from imaging.buckets.gcs import GcsBuckets, GcsRules

    return GcsBuckets(
        GcsRules(
            credentials_file=retina.gcs_credentials_file,
            endpoint=retina.gcs_endpoint,
            timeout_s=retina.timeout_s,
            connect_timeout_s=retina.connect_timeout_s,
        )
    )


def _s3(retina: RetinaSettings) -> "Buckets":
    from imaging.buckets.s3 import S3Buckets, S3Rules

    assert retina.s3_endpoint is not None
    return S3Buckets(
        S3Rules(
            endpoint=retina.s3_endpoint,
            access_key=retina.s3_access_key.get_secret_value() if retina.s3_access_key else None,
            secret_key=retina.s3_secret_key.get_secret_value() if retina.s3_secret_key else None,
            region=retina.s3_region,
            secure=retina.s3_secure,
            timeout_s=retina.timeout_s,
            connect_timeout_s=retina.connect_timeout_s,
        )
    )


def _azure(retina: RetinaSettings, connection_string: str) -> "Buckets":
    from imaging.buckets.azure import AzureBuckets, AzureRules

    return AzureBuckets(
        AzureRules(
            connection_string=connection_string,
            timeout_s=retina.timeout_s,
            connect_timeout_s=retina.connect_timeout_s,
        )
    )
