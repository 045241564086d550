"""The verbs: each loads, lets the domain decide, saves and emits, in one transaction."""
