"""`orwatch`, and the same as `python -m daemon`."""

import sys

from daemon.cli.root import orwatch


def main() -> None:
    """The command line; ends, also where a thread hangs in a library."""
    try:
        orwatch(prog_name="orwatch")
    finally:
        # Whoever made threads has imported this; `--help` did not, and answers at once.
        if (bridge := sys.modules.get("daemon.bridge")) is not None:
            bridge.leave(sys.exc_info()[1])


if __name__ == "__main__":
    main()
