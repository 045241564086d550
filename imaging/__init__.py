"""The imaging back ends: one gateway each, which knows its wire and nothing of the daemon."""
