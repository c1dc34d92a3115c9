"""What a score raises when there is nothing to measure; the table shows a dash and the reason."""

from __future__ import annotations


class Unmeasurable(ValueError):
    """These pictures have no such score: too small, constant, or a package that is not installed. Says which."""
