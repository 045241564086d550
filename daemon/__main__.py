"""`orwatch`, and the same as `python -m daemon`."""

import sys

from daemon.cli.root import orwatch


def main() -> None:
    """The command line; exits, also where a thread hangs in a library."""
    code = 1
    try:
        orwatch(prog_name="orwatch")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  a bug: its traceback first, then the way out as for all
        sys.excepthook(*sys.exc_info())
    # Whoever made threads has imported this; `--help` did not, and answers at once.
    if (bridge := sys.modules.get("daemon.bridge")) is not None:
        bridge.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
