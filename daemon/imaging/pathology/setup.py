"""From `[imaging.pathology]` to its back end, and to the rules of its client and of its uploads."""

from functools import partial
from typing import TYPE_CHECKING

from daemon.config import Settings
from daemon.domain.imaging import JobKind
from daemon.imaging.backend import BackEnd, Site
from daemon.imaging.jobs.steps import Gateway, JobBackEnd

if TYPE_CHECKING:
    from imaging.cos.slide import CosCredentials, CosRules
    from imaging.pathology.answers import PathologyRules


def pathology_back_end(site: Site) -> BackEnd:
    from daemon.imaging.pathology.routes import UPLOAD, routes

    imaging = site.settings.imaging
    bytes_max, slides_dir = imaging.upload_max_mib * 2**20, imaging.pathology.slides_dir
    gateway = _gateway_of(site) if is_pathology_configured(site.settings) else None
    return BackEnd(
        name="pathology",
        jobs=JobBackEnd(kind=JobKind.PATHOLOGY, gateway=gateway, missing="base_url"),
        routers=lambda jobs: [routes(jobs, file_bytes_max=bytes_max, slides_dir=slides_dir)],
        body_bytes_max={UPLOAD: bytes_max},
    )


def is_pathology_configured(settings: Settings) -> bool:
    pathology = settings.imaging.pathology
    return pathology.base_url is not None or pathology.create_url is not None


def pathology_rules_of(settings: Settings) -> "PathologyRules":
    from imaging.pathology.answers import PathologyRules

    pathology = settings.imaging.pathology
    return PathologyRules(
        base_url=pathology.base_url,
        login_url=pathology.login_url,
        credentials_url=pathology.credentials_url,
        callback_url=pathology.callback_url,
        create_url=pathology.create_url,
        list_url=pathology.list_url,
        auth_scheme=pathology.auth_scheme,
        allow_http=pathology.allow_http,
        ca_file=pathology.ca_file,
        connect_timeout_s=pathology.connect_timeout_s,
        timeout_s=pathology.timeout_s,
        diseases=pathology.diseases,
    )


def cos_rules_of(settings: Settings, credentials: "CosCredentials") -> "CosRules":
    """What the site configures comes before what the answer with the credentials names. Raises NotConfigured."""
    from imaging.cos.credentials import ATTEMPTS
    from imaging.cos.slide import CosRules
    from imaging.errors import NotConfigured

    pathology = settings.imaging.pathology
    bucket, region = pathology.cos_bucket or credentials.bucket, pathology.cos_region or credentials.region
    for key, value in (("cos_bucket", bucket), ("cos_region", region)):
        if not value:
            raise NotConfigured(f"没有配置 imaging.pathology.{key}，上传凭证的应答里也没有。")
    assert bucket and region  # noqa: PT018  it was looked at
    return CosRules(
        bucket=bucket,
        region=region,
        endpoint=pathology.cos_endpoint,
        secure=pathology.cos_secure,
        # A private COS has the site's own certificate; the public one has not.
        ca_file=pathology.ca_file if pathology.cos_endpoint else None,
        part_size_mib=pathology.part_size_mib,
        threads=pathology.upload_threads,
        timeout_s=pathology.timeout_s,
        connect_timeout_s=pathology.connect_timeout_s,
        attempts=ATTEMPTS,
    )


def _gateway_of(site: Site) -> Gateway:
    from daemon.imaging.pathology.job import PathologyGateway, PathologyJobRules
    from imaging.pathology.client import Pathology

    pathology = site.settings.imaging.pathology
    rules = PathologyJobRules(
        username=pathology.username.get_secret_value() if pathology.username else None,
        password=pathology.password.get_secret_value() if pathology.password else None,
        organization=pathology.organization,
        source=pathology.source,
        cos=partial(cos_rules_of, site.settings),
        poll_interval_s=pathology.poll_interval_s,
        polls_max=max(1, int(pathology.poll_for_h * 3600 / pathology.poll_interval_s)),
        zone=site.zone,
    )
    return PathologyGateway(Pathology(pathology_rules_of(site.settings)), rules)
