"""From cameras to observations: the edge between pixels and the tally."""
