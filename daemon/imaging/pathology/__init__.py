"""The pathology back end in the daemon: its job and its routes."""
