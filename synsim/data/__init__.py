"""Data sets: one bundled, three read from the usual files, the user's own, all as stored; and their download."""

from synsim.data.dataset import Dataset
from synsim.data.download import fetch
from synsim.data.find import DataNotFoundError
from synsim.data.load import available, load
from synsim.data.spikes import binned
from synsim.data.transfer import DownloadError

__all__ = ["DataNotFoundError", "Dataset", "DownloadError", "available", "binned", "fetch", "load"]
