"""The process: control plane, surgeries, ledger, storage and the command line of orwatch."""

from importlib.metadata import version

__version__ = version("orwatch")
