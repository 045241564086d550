"""Pure rules of the tally: the standard library only, no clock, no I/O."""
