"""The command line: one module per command, put together in `root`. Heavy imports stay inside the commands."""
