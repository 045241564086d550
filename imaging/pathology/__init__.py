"""The pathology back end: six steps from a slide to its diagnosis."""
