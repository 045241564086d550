"""HTTP below any SDK that ends in time: the bounds of one call, and connections that mind them."""

from net.deadline import Halted, TooMuch, Unbounded, bounded

__all__ = ["Halted", "TooMuch", "Unbounded", "bounded"]
