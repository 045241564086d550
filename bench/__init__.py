"""What orwatch costs and how fast it is, measured beside the obvious ways to do the same. See README.md."""
