"""Numeric precision: which type a device computes in."""

import torch


def lowered(device: str, precision: str) -> bool:
    """Whether this precision means bfloat16 here: `auto` does where hardware is faster in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capable = torch.cpu.get_capabilities()
    if "Intel" in str(capable.get("cpu_name")):
        # Without its matrix unit a Xeon multiplies in bfloat16 at half the speed of float32.
        return bool(capable.get("amx_bf16"))
    return bool(capable.get("avx512_bf16") or capable.get("bf16"))


def real(device: str, precision: str) -> str:
    """The precision that a device computes in, `float32` or `bfloat16`, whatever `auto` means."""
    return "bfloat16" if lowered(device, precision) else "float32"


def autocast(device: str, precision: str) -> torch.autocast:
    """A context that computes in bfloat16, or one that changes nothing."""
    enabled = lowered(device, precision)
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=enabled)
