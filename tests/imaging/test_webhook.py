"""One delivery of results, against a receiver that verifies signatures and fails in every way."""

import hashlib
import hmac
import logging
import re
import subprocess
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imaging.errors import ImagingError, InputForbidden, InputInvalid, NotConfigured, Refused, Unclear, Unreachable
from imaging.webhook import SIGNATURE_HEADER, Webhook, sign, verified
from tests import rules
from tests.servers import webhooks
from tests.servers.proxy import FaultProxy
from tests.servers.webhooks import Fault, WebhookServer, signature_problem

SECRET = "secret-of-the-webhook-test"
BODY = '{"status":"sent","filename":"左眼.png"}'.encode()
NOW = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
# Long enough for a loaded machine; a receiver that stalls costs so long.
TIMEOUT_S = 60.0
LATE_S = 0.5


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    with WebhookServer(SECRET) as server:
        yield server


def webhook(*hosts: str, secret: str | None = SECRET, **changes: Any) -> Webhook:
    return Webhook(rules.webhook(secret=secret, hosts=hosts, **{"timeout_s": TIMEOUT_S} | changes))


async def deliver(receiver: WebhookServer, *, attempt: int = 1, url: str = "", **changes: Any) -> None:
    sender = webhook(receiver.host, **changes)
    try:
        await sender.send(url or receiver.url, BODY, delivery_id="d-1", attempt=attempt, at=datetime.now(UTC))
    finally:
        await sender.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    paths = (folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


# --- what a receiver gets ---


async def test_a_delivery_arrives_signed_and_says_which_attempt_it_is(receiver: WebhookServer) -> None:
    await deliver(receiver, attempt=3)

    [delivery] = receiver.wait(1)
    assert (delivery.problem, delivery.body, delivery.path) == ("", BODY, "/results")
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.headers["x-orwatch-delivery"] == "d-1"
    assert delivery.headers["x-orwatch-attempt"] == "3"


async def test_a_receiver_with_another_secret_refuses(receiver: WebhookServer) -> None:
    with pytest.raises(Refused) as caught:
        await deliver(receiver, secret="another-secret-of-16")

    assert caught.value.code == "401"
    assert receiver.deliveries[0].problem == "the signature is not of this body"


def test_the_signature_is_the_one_of_rfc_2104_over_time_dot_body() -> None:
    header = sign(SECRET, BODY, NOW)

    found = re.fullmatch(r"t=([0-9]+),v1=([0-9a-f]{64})", header)
    assert found
    assert int(found[1]) == NOW.timestamp()
    assert found[2] == hmac.new(SECRET.encode(), f"{found[1]}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert signature_problem(SECRET, header, BODY, now_s=NOW.timestamp()) == ""


def test_a_signature_is_known_again_within_its_time_only() -> None:
    header = sign(SECRET, BODY, NOW)

    assert verified(SECRET, header, BODY, NOW + timedelta(minutes=5))
    assert verified(SECRET, header, BODY, NOW - timedelta(minutes=5))
    assert not verified(SECRET, header, BODY, NOW + timedelta(minutes=5, seconds=1))
    assert not verified(SECRET, header, BODY, NOW - timedelta(minutes=5, seconds=1))
    assert verified(SECRET, header, BODY, NOW + timedelta(hours=1), tolerance=timedelta(hours=2))


def test_the_old_and_the_new_secret_may_sign_together() -> None:
    old, new = sign("the-old-secret-of-16", BODY, NOW), sign(SECRET, BODY, NOW)
    both = f"{old},{new.partition(',')[2]}"

    assert verified(SECRET, both, BODY, NOW)
    assert verified("the-old-secret-of-16", both, BODY, NOW)


NOW_S = int(NOW.timestamp())
FORGED = {
    "nothing": "",
    "no time": f"v1={'0' * 64}",
    "no signature": f"t={NOW_S}",
    "another time": sign(SECRET, BODY, NOW + timedelta(seconds=1)).replace(str(NOW_S + 1), str(NOW_S)),
    "another body": sign(SECRET, BODY + b" ", NOW),
    "another secret": sign(SECRET + "x", BODY, NOW),
    "cut short": sign(SECRET, BODY, NOW)[:-1],
    "two times": sign(SECRET, BODY, NOW) + ",t=1",
    "a time that is none": sign(SECRET, BODY, NOW).replace("t=", "t=+"),
    "a time beyond all": f"t={'9' * 400},v1={'0' * 64}",
    "digits of another script": sign(SECRET, BODY, NOW).replace("t=1", "t=１"),
    "signature in capitals": sign(SECRET, BODY, NOW).upper(),
    "not of this alphabet": f"t={NOW_S},v1=é中\x00",
    "very long": "," * 1_000_000,
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_signature_is_none(how: str) -> None:
    assert not verified(SECRET, FORGED[how], BODY, NOW)


# --- what an answer means ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_success(receiver: WebhookServer, status: int) -> None:
    receiver.next(Fault(status=status))

    await deliver(receiver)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_what_may_be_different_later_is_unclear(receiver: WebhookServer, status: int) -> None:
    receiver.next(Fault(status=status, body=b"try later"))

    with pytest.raises(Unclear) as caught:
        await deliver(receiver)
    assert caught.value.code == str(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
async def test_what_stays_the_same_is_refused(receiver: WebhookServer, status: int) -> None:
    receiver.next(Fault(status=status))

    with pytest.raises(Refused) as caught:
        await deliver(receiver)
    assert caught.value.code == str(status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: WebhookServer, status: int) -> None:
    receiver.next(Fault(status=status, headers={"Location": receiver.url + "/inside"}))

    with pytest.raises(Refused) as caught:
        await deliver(receiver)
    assert caught.value.code == str(status)
    assert [each.path for each in receiver.deliveries] == ["/results"]


async def test_a_receiver_that_says_200_and_then_nothing_more_has_it(receiver: WebhookServer) -> None:
    receiver.next(webhooks.HALF, webhooks.RESET, webhooks.FLOOD)
    for _ in range(3):
        await deliver(receiver)
    receiver.next(webhooks.TRICKLE)

    await deliver(receiver, timeout_s=4 * LATE_S)


@pytest.mark.parametrize("fault", [webhooks.STALL, webhooks.TRICKLE_HEAD], ids=["stall", "trickle"])
async def test_a_receiver_that_does_not_answer_in_time_is_unclear(receiver: WebhookServer, fault: Fault) -> None:
    receiver.next(fault)

    with pytest.raises(Unclear, match="超时"):
        await deliver(receiver, timeout_s=LATE_S)


async def test_a_connection_that_breaks_before_any_answer_is_unclear(receiver: WebhookServer) -> None:
    with FaultProxy(receiver.port) as proxy:
        proxy.kill_at(20)
        sender = webhook(f"localhost:{proxy.port}")
        url = f"http://localhost:{proxy.port}/results"
        try:
            with pytest.raises(Unclear):
                await sender.send(url, BODY, delivery_id="d-1", attempt=1, at=datetime.now(UTC))
        finally:
            await sender.close()
    assert receiver.deliveries == []


async def test_a_receiver_that_is_away_is_unreachable_and_gets_it_when_it_is_back(receiver: WebhookServer) -> None:
    sender = webhook(receiver.host)
    try:
        await sender.send(receiver.url, BODY, delivery_id="a", attempt=1, at=datetime.now(UTC))
        receiver.down()
        with pytest.raises(Unreachable):
            await sender.send(receiver.url, BODY, delivery_id="b", attempt=1, at=datetime.now(UTC))
        receiver.up()
        await sender.send(receiver.url, BODY, delivery_id="b", attempt=2, at=datetime.now(UTC))
    finally:
        await sender.close()

    told = [(each.headers["x-orwatch-delivery"], each.headers["x-orwatch-attempt"]) for each in receiver.wait(2)]
    assert told == [("a", "1"), ("b", "2")]
    assert [each.problem for each in receiver.deliveries] == ["", ""]


async def test_a_receiver_whose_certificate_nobody_knows_is_sent_nothing(certificate: tuple[Path, Path]) -> None:
    with WebhookServer(SECRET, tls=certificate) as receiver:
        with pytest.raises(Unreachable, match="TLS 证书无法验证"):
            await deliver(receiver)
        assert receiver.deliveries == []
        await deliver(receiver, ca_file=certificate[0])
        assert receiver.deliveries[0].problem == ""


async def test_cookies_of_a_receiver_are_not_kept(receiver: WebhookServer) -> None:
    receiver.next(Fault(headers={"Set-Cookie": "a=b"}))
    sender = webhook(receiver.host)
    try:
        for _ in range(2):
            await sender.send(receiver.url, BODY, delivery_id="a", attempt=1, at=datetime.now(UTC))
    finally:
        await sender.close()

    assert [each.headers.get("cookie") for each in receiver.deliveries] == [None, None]


async def test_a_proxy_of_the_environment_is_not_used(receiver: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    await deliver(receiver)

    assert receiver.deliveries[0].problem == ""


async def test_an_address_that_left_the_list_is_called_no_more(receiver: WebhookServer) -> None:
    sender = webhook("his.example")
    try:
        with pytest.raises(InputForbidden):
            await sender.send(receiver.url, BODY, delivery_id="a", attempt=1, at=NOW)
    finally:
        await sender.close()
    assert receiver.deliveries == []


# --- addresses ---

HOSTS = ("his.example", "lab.example:8443", "xn--fiq228c.example", "10.1.2.3", "[fd00::1]:9000", "localhost:8080")

ALLOWED = {
    "https://his.example/results": "https://his.example/results",
    "https://his.example": "https://his.example/",
    "https://his.example:443/a?b=c&d=%E4%B8%AD": "https://his.example/a?b=c&d=%E4%B8%AD",
    "HTTPS://His.Example./A": "https://his.example/A",
    "https://lab.example:8443/": "https://lab.example:8443/",
    "https://lab.example:08443/": "https://lab.example:8443/",
    "https://XN--FIQ228C.example/": "https://xn--fiq228c.example/",
    "https://10.1.2.3/": "https://10.1.2.3/",
    "https://[FD00:0::0001]:9000/x": "https://[fd00::1]:9000/x",
    "http://localhost:8080/x": "http://localhost:8080/x",
}

INVALID = [
    "",
    "   ",
    "his.example/results",
    "//his.example/results",
    "https:his.example",
    "https:/his.example",
    "https:///his.example",
    "https://",
    "https://:443/",
    "ftp://his.example/",
    "file:///etc/passwd",
    "gopher://his.example/",
    "javascript:alert(1)",
    "https://user@his.example/",
    "https://user:pw@his.example/",
    "https://@his.example/",
    "https://his.example@evil.example/",
    "https://evil.example\\@his.example/",
    "https://his.example\\.evil.example/",
    "https://his.example/\\evil",
    "https://his.example/#part",
    "https://evil.example#@his.example/",
    "https://his.example#",
    "https://his.example/a b",
    " https://his.example/",
    "https://his.example/ ",
    "https://his.exam\tple/",
    "https://his.example/\r\nHost: evil.example",
    "https://his.example/\x00",
    "https://his.example\x7f/",
    "https://his.example:0/",
    "https://his.example:65536/",
    "https://his.example:-1/",
    "https://his.example:443:443/",
    "https://his.example:4４3/",
    "https://his.example:80a/",
    "https://his.example:/",
    "https://his%2eexample/",
    "https://%68is.example/",
    "https://his..example/",
    "https://his.example../",
    "https://.his.example/",
    "https://-his.example/",
    "https://his_example/",
    "https://ｈis.example/",
    "https://his。example/",
    "https://中文.example/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://010.1.2.3/",
    "https://10.1.515/",
    "https://10.1.2.3.4/",
    "https://10.1.2.0x3/",
    "https://[fd00::1/",
    "https://fd00::1]/",
    "https://[fd00::1%25eth0]:9000/",
    "https://[fd00::1%eth0]:9000/",
    "https://[v1.fe80]/",
    "https://[10.1.2.3]/",
    "https://[]/",
    "https://his.example/" + "a" * 2048,
    "http://his.example/",
]

FORBIDDEN = [
    "https://evil.example/",
    "https://his.example.evil.example/",
    "https://evilhis.example/",
    "https://sub.his.example/",
    "https://example/",
    "https://his.example:8443/",
    "https://lab.example/",
    "https://lab.example:443/",
    "https://lab.example:8444/",
    "https://10.1.2.4/",
    "https://127.0.0.1/",
    "https://127.0.0.1:8080/",
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "https://[::1]:8080/",
    "https://[::ffff:10.1.2.3]/",
    "https://[::ffff:a01:203]/",
    "https://[fd00::1]/",
    "https://[fd00::2]:9000/",
    "https://localhost/",
    "http://localhost/",
    "http://localhost:80/",
    "https://xn--fiq228c.example.cn/",
]


@pytest.fixture(scope="module")
def listed() -> Webhook:
    return webhook(*HOSTS)


@pytest.mark.parametrize("url", ALLOWED)
def test_an_address_on_the_list_is_called_as_it_was_compared(listed: Webhook, url: str) -> None:
    assert listed.check(url) == ALLOWED[url]
    assert listed.check(listed.check(url)) == ALLOWED[url]


@pytest.mark.parametrize("url", [None, *INVALID], ids=lambda url: ascii(url)[:40])
def test_an_address_that_is_none_is_refused(listed: Webhook, url: str | None) -> None:
    with pytest.raises(InputInvalid, match="Webhook-Url") as caught:
        listed.check(url)
    assert type(caught.value) is InputInvalid
    assert caught.value.field == "Webhook-Url"


@pytest.mark.parametrize("url", FORBIDDEN)
def test_an_address_that_is_not_on_the_list_is_forbidden_and_the_list_is_not_told(listed: Webhook, url: str) -> None:
    with pytest.raises(InputForbidden) as caught:
        listed.check(url)
    assert "lab.example:8443" not in caught.value.message
    assert "10.1.2.3" not in caught.value.message


def test_plain_http_goes_to_this_machine_only_unless_it_was_allowed() -> None:
    for host in ("127.0.0.1:81", "[::1]:81", "localhost:81"):
        assert webhook(host).check(f"http://{host}/") == f"http://{host}/"
    with pytest.raises(InputInvalid, match="https"):
        webhook("his.example").check("http://his.example/")
    assert webhook("his.example", allow_http=True).check("http://his.example:80/") == "http://his.example/"


def test_without_hosts_or_a_secret_it_is_not_configured() -> None:
    for unset in (webhook(), webhook("his.example", secret=None), webhook("his.example", secret="")):
        with pytest.raises(NotConfigured, match=r"imaging\.retina\.webhook_hosts"):
            unset.check("https://his.example/")


@pytest.mark.parametrize("entry", ["", "his.example/", "https://his.example", "127.1", "his example", "a:0", "a:70000"])
def test_a_host_of_the_list_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.webhook_hosts"):
        webhook(entry)


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.webhook_ca_file"):
        webhook("his.example", ca_file=tmp_path / "missing.pem")


async def test_secret_and_address_are_printed_nowhere(
    receiver: WebhookServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # As daemon/log.py has it.
    caplog.set_level(logging.WARNING, "httpx")
    told = [repr(rules.webhook(secret=SECRET))]
    url = receiver.url + "?token=token-of-the-receiver"
    receiver.next(Fault(status=500), Fault(status=400), Fault(status=302, headers={"Location": url}), webhooks.RESET)
    for _ in range(5):
        try:
            await deliver(receiver, url=url)
        except ImagingError as error:
            told += traceback.format_exception(error)
    for bad in (url + "#", url.replace("localhost", "evil.example"), url.replace("//", "//user:pw@")):
        with pytest.raises(InputInvalid) as caught:
            await deliver(receiver, url=bad)
        told += traceback.format_exception(caught.value)
    whole = "\n".join([*told, caplog.text])
    assert "HTTP 500" in whole
    for secret in (
        SECRET,
        "token-of-the-receiver",
        "user:pw",
        receiver.deliveries[0].headers[SIGNATURE_HEADER.lower()],
    ):
        assert secret not in whole
