"""`python -m tests.uploading JOB`: one upload in a process of its own, to be killed; prints what came of it as JSON.

JOB is a JSON file: path, key, md5, record, rules (of CosRules), credentials (as the back end gives them).
"""

import json
import re
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from imaging.cos.slide import CosCredentials, CosRules, upload


def main(job: Path) -> None:
    told = json.loads(job.read_text())
    done = upload(
        Path(told["path"]),
        told["key"],
        told["md5"],
        rules=CosRules(**told["rules"]),
        credentials=lambda: CosCredentials.read(told["credentials"]),
        record=Path(told["record"]),
        wait_s=lambda _attempts: 0.01,
        stop=threading.Event(),
        progress=lambda done, total: None,
    )
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({**asdict(done), "peak_mib": int(peak[1]) // 1024}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
