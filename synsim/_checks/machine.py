"""What this machine has: memory and devices."""

import os

import torch

from synsim._checks.words import require


def affordable(size: int, what: str) -> None:
    """Refuse what would take more memory than this machine has, before any is taken.

    Args:
        size: bytes.
        what: what would take them, for the message.

    Raises:
        ValueError: if it is more than all of the machine's memory.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    require(
        size <= there,
        f"{what} would take {size / 2**30:.3g} GiB of memory, this machine has {there / 2**30:.3g}. Use smaller sizes.",
    )


def available_device(device: torch.device | str | None) -> torch.device:
    """The device, if this machine has it.

    Args:
        device: a torch device, its name, or None for the CPU (or torch's default device).

    Returns:
        The device.

    Raises:
        ValueError: if the name is unknown or this machine has no such device.
    """
    try:
        # Older torch does not tell the device of a `with torch.device(...)` by get_default_device.
        found = torch.empty(0, device=None).device if device is None else torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be such as 'cpu' or 'cuda:0', got {device!r}.") from error
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise ValueError(
                f"device {str(found)!r} is not there: torch sees {count} CUDA devices on this machine. "
                "Use device='cpu', or install a CUDA build of torch."
            )
    return found
