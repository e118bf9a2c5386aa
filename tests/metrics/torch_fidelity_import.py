"""torch-fidelity without torchvision, of which what is tested here needs nothing."""

import sys
from types import ModuleType

import pytest


def import_torch_fidelity() -> ModuleType:
    """The package, with a stub for torchvision where that is not installed; skips without torch."""
    pytest.importorskip("torch")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        names = ("", ".datasets", ".transforms", ".transforms.functional", ".models")
        for name in names:
            sys.modules["torchvision" + name] = ModuleType("torchvision" + name)
        for name in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(sys.modules["torchvision.datasets"], name, type(name, (), {}))
        sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
        functional = sys.modules["torchvision.transforms.functional"]
        sys.modules["torchvision.transforms"].functional = functional
    return pytest.importorskip("torch_fidelity")
