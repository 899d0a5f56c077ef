"""What a network is shown, and what comes out: examples in any of the usual forms, labels, and logits."""

from synsim.inputs.images import Images, as_images, has_replicas, labelled, rows_of
from synsim.inputs.logits import logits_of, output_replicas, tensor_of

__all__ = [
    "Images",
    "as_images",
    "has_replicas",
    "labelled",
    "logits_of",
    "output_replicas",
    "rows_of",
    "tensor_of",
]
