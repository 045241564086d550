"""`orwatch fundus`: its commands, what they show, and what `orwatch check` asks of it."""
