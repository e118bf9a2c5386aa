"""The settings that make XLA fast on a CPU, in one place; to be made before jax is imported.

Convolutions go to the Eigen kernels instead of jaxlib's newer default, which is slower at the
widths of small networks. The C library hands out huge pages and keeps what is freed, since XLA
frees its large temporaries at each step: they would go back to the system, and from a virtual
machine to its host, only to be faulted in again. It keeps one heap instead of eight a core, which
the hundred threads of jax and Orbax would fill with holes; `training/memory.py` gives memory back.
Figures are in docs/log/performance.md and docs/log/endurance.md. `DALLE_JAX_CPU_SETTINGS=off`
leaves everything as it is.
"""

import os
import platform
import sys
from collections.abc import MutableMapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SWITCH = "DALLE_JAX_CPU_SETTINGS"
CONVOLUTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
HEAP = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "arena_max": 1,  # in a further one large blocks lie outside of the heap
        "mmap_max": 0,  # a block outside the heap goes back to the system as soon as it is freed
        "trim_threshold": 2**40,  # bytes free at the heap's end before that goes back
        "top_pad": 2**26,  # bytes by which the heap grows at least
    }.items()
)
# Device files of accelerators, under /dev: NVIDIA's (a container may have any one only), WSL2's,
# a TPU's, AMD's.
ACCELERATORS = ("nvidia[0-9]*", "dxg", "accel0", "vfio/0", "kfd")
# Of /proc/cpuinfo, on x86 and on ARM.
KIND = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
FLAG_VERSIONS = ("0.10.",)


def configure(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Put the convolution flag into XLA_FLAGS; whether it was put there now.

    Does nothing where an accelerator is at hand, where jax is imported already, where the switch is
    off, or where the flag is set either way.
    """
    if environ.get(SWITCH) == "off" or "jax" in sys.modules or not on_cpu(environ):
        return False
    flags = environ.get("XLA_FLAGS", "")
    if "xla_cpu_experimental_ynn_fusion_type" in flags or not flag_is_known():
        return False
    environ["XLA_FLAGS"] = f"{flags} {CONVOLUTION_FLAG}".strip()
    return True


def restart_with_heap(environ: MutableMapping[str, str] = os.environ) -> None:
    """Start this program anew with `HEAP`, which the C library reads when a process starts.

    Only for the command line: a library must not restart the program that imports it.
    """
    tunables = environ.get("GLIBC_TUNABLES", "")
    unwanted = environ.get(SWITCH) == "off" or not on_cpu(environ) or "hugetlb" in tunables
    if unwanted or platform.libc_ver()[0] != "glibc":
        return
    environ["GLIBC_TUNABLES"] = f"{tunables}:{HEAP}".strip(":")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(environ))


def on_cpu(environ: MutableMapping[str, str] = os.environ, devices: Path = Path("/dev")) -> bool:
    """Whether jax will compute on the CPU, by the files of `devices` and without importing it."""
    platforms = environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not any(any(devices.glob(pattern)) for pattern in ACCELERATORS)


def processor() -> list[str]:
    """What the system says of the kind of the first processor and its instructions, in lines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor(), platform.machine()]
    return [line for line in lines if line.startswith(KIND)]


def vectors(flags: str | None = None) -> str:
    """Whether the processor has AVX-512, which triples its speed, in words; "" if unknown.

    `flags` are those of the processor as /proc/cpuinfo has them, by default this one's.
    """
    if flags is None:
        flags = next((line for line in processor() if line.startswith("flags")), "")
    if "sse2" not in flags:  # another architecture, or a system that does not say
        return ""
    return "with AVX-512" if "avx512f" in flags.split() else "without AVX-512"


def flag_is_known() -> bool:
    """Whether this jaxlib has `CONVOLUTION_FLAG`; XLA aborts the process at one that it has not."""
    try:
        return version("jaxlib").startswith(FLAG_VERSIONS) and platform.machine() == "x86_64"
    except PackageNotFoundError:
        return False
