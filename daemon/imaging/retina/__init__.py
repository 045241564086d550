"""The OCT retina back end in the daemon: its desk, its job and its routes."""
