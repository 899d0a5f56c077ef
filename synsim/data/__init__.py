"""Data sets: one bundled, three read from the usual files, all as stored; and their download."""

from synsim.data.dataset import Dataset
from synsim.data.download import DownloadError, fetch
from synsim.data.load import DataNotFoundError, available, load

__all__ = ["DataNotFoundError", "Dataset", "DownloadError", "available", "fetch", "load"]
