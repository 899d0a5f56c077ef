"""The loop that picks stored pixels: by row, in an order, as the numbers that they stand for."""

from synsim.kernels.compiling import njit
from synsim.kernels.cpu import OPTIONS


@njit(**OPTIONS)
def pick(images, rows, orders, per, table, out, start, stop):
    """Rows of images as numbers, each in the order of its block of `per` rows.

    Returns:
        Whether all rows are there; images uint8 [N, P], rows int64 [M], orders int64 [K, P], table [256], out [M, P].
    """
    for m in range(start, stop):
        row = rows[m]
        if row < 0 or row >= images.shape[0]:
            return False
        image, order, numbers = images[row], orders[m // per], out[m]
        for j in range(image.shape[0]):
            numbers[j] = table[image[order[j]]]
    return True
