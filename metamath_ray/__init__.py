"""MetaMath (arXiv 2309.12284) as a distributed system on Ray."""

__version__ = "0.1.0"

__all__ = ["__version__"]
