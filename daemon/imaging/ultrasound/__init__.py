"""The ultrasound back end in the daemon: its desk, its routes and its page's data."""
