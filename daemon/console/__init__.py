"""The web pages of the daemon: static files that speak the public API."""
