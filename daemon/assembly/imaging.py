"""From `[imaging]` to the rules of the back ends."""

from typing import TYPE_CHECKING

from daemon.config import Settings

if TYPE_CHECKING:
    from imaging.cos.slide import CosCredentials, CosRules
    from imaging.fundus.client import FundusRules
    from imaging.pathology.answers import PathologyRules


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
    )


def fundus_rules_of(settings: Settings) -> "FundusRules":
    from imaging.fundus.client import FundusRules

    fundus = settings.imaging.fundus
    return FundusRules(
        base_url=fundus.base_url,
        allow_http=fundus.allow_http,
        ca_file=fundus.ca_file,
        app_id=fundus.app_id,
        token=fundus.token.get_secret_value() if fundus.token else None,
        app_id_45=fundus.app_id_45,
        token_45=fundus.token_45.get_secret_value() if fundus.token_45 else None,
        connect_timeout_s=fundus.connect_timeout_s,
        timeout_s=fundus.timeout_s,
        poll_interval_s=fundus.poll_interval_s,
        polls_max=fundus.polls_max,
        polls_max_45=fundus.polls_max_45,
    )
