"""`orwatch pathology`: its commands, what they show, and what `orwatch check` asks of it."""
