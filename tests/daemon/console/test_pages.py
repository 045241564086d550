"""What the daemon serves as pages: known files only, as their types, under a strict policy; others' files unchanged."""

import hashlib
import re

from daemon.console.pages import POLICY, STATIC, ULTRASOUND
from tests.daemon.harness import Daemon

VENDOR = STATIC / "vendor"


def test_vendored_files_are_what_their_table_says() -> None:
    table = (VENDOR / "VENDORED.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.]+) \|.*\| ([0-9a-f]{64}) \|$", table, re.MULTILINE))

    assert rows == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "VENDORED.md"
    }
    assert any("cropper" in name for name in rows)


def test_pages_name_nothing_outside_and_run_nothing_inline() -> None:
    own = [path for path in (STATIC / "ultrasound").iterdir() if path.suffix in (".html", ".js", ".css")]

    assert len(own) >= 8
    for path in own:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://", text), path.name
        assert not re.search(r"\bon\w+=\"|<script>|style=\"|innerHTML|\beval\(", text), path.name


async def test_a_page_is_served_with_its_type_its_policy_and_an_etag(daemon: Daemon) -> None:
    for name, kind in (
        ("", "text/html; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("vendor/cropper.esm.min.js", "text/javascript; charset=utf-8"),
        ("vendor/cropper.LICENSE.txt", "text/plain; charset=utf-8"),
    ):
        answer = await daemon.http.get(f"{ULTRASOUND}/{name}")
        again = await daemon.http.get(f"{ULTRASOUND}/{name}", headers={"If-None-Match": answer.headers["ETag"]})

        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert (again.status_code, again.content) == (304, b"")
    assert "unsafe" not in POLICY
    bare = await daemon.http.get(ULTRASOUND)
    assert (bare.status_code, bare.headers["Location"].removeprefix(daemon.url)) == (307, f"{ULTRASOUND}/")


async def test_no_path_leads_to_another_file(daemon: Daemon) -> None:
    for name in ("none.js", "..%2fpages.py", "%2e%2e/__init__.py", "vendor/..%2f..%2fpages.py", "%2fetc%2fpasswd"):
        answer = await daemon.http.get(f"{ULTRASOUND}/{name}")
        assert answer.status_code == 404, name
    assert (await daemon.http.post(f"{ULTRASOUND}/")).status_code == 405
    head = await daemon.http.head(f"{ULTRASOUND}/")
    assert (head.status_code, head.content) == (200, b"")
