"""`orwatch run`: the daemon in the foreground, as systemd starts it."""

from daemon.cli.options import ConfigOption, settings_of


def run(config: ConfigOption = None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. Running surgeries go on after the next start."""
    import asyncio

    from daemon.app import serve

    asyncio.run(serve(settings_of(config)))
