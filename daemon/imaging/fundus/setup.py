"""From `[imaging.fundus]` to the rules of its client."""

from typing import TYPE_CHECKING

from daemon.config import Settings

if TYPE_CHECKING:
    from imaging.fundus.client import FundusRules


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
