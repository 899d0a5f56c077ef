"""Where the data sets come from, and how their content is known."""

from collections.abc import Mapping
from dataclasses import dataclass

from synsim.data.find import CIFAR_FILES, FOLDERS, IDX_FILES


@dataclass(frozen=True)
class Files:
    """A data set of single files, each compressed by gzip.

    Attributes:
        folder: where they go, below the root.
        mirrors: base addresses, tried in order.
        sha256: file name -> SHA-256 of its decompressed content, which stays the same however it was packed.
    """

    folder: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Archive:
    """A data set that comes as one compressed tar archive.

    Attributes:
        folder: where its files go, below the root.
        mirrors: base addresses, tried in order.
        file: name of the archive.
        md5: MD5 of the archive, the checksum that its authors publish.
        members: path in the archive -> file name in the folder.
    """

    folder: str
    mirrors: tuple[str, ...]
    file: str
    md5: str
    members: Mapping[str, str]


SOURCES: dict[str, Files | Archive] = {
    "mnist": Files(
        "mnist",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            f"{IDX_FILES[0]}.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            f"{IDX_FILES[1]}.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            f"{IDX_FILES[2]}.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            f"{IDX_FILES[3]}.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Files(
        "fashion-mnist",
        (
            # Website endpoints of S3 speak plain HTTP only; the checksum guards the content.
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        {
            f"{IDX_FILES[0]}.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            f"{IDX_FILES[1]}.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            f"{IDX_FILES[2]}.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            f"{IDX_FILES[3]}.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "cifar10": Archive(
        FOLDERS["cifar10"][0],
        ("https://www.cs.toronto.edu/~kriz/",),
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        {f"cifar-10-batches-bin/{file}": file for file in CIFAR_FILES},
    ),
}
"""Every data set that can be downloaded."""
