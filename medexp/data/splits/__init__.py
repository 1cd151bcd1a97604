"""Who is in train, val and test."""

from medexp.data.splits.make import Split, check_split, make_split

__all__ = ["Split", "check_split", "make_split"]
