"""What stops a sweep as a whole."""


class SweepError(RuntimeError):
    """No cell can be run like this: the disk is full, say, or a worker does not see the folder."""
