"""`orwatch`, and the same as `python -m daemon`."""

from daemon.cli.root import orwatch


def main() -> None:
    orwatch(prog_name="orwatch")


if __name__ == "__main__":
    main()
