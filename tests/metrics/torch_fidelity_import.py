"""torch-fidelity without torchvision, of which what is tested here needs nothing."""

import sys
from types import ModuleType

import pytest


def import_torch_fidelity() -> ModuleType:
    """The package with a stub in place of torchvision; skips without torch.

    Also where torchvision is installed: the one that pip finds beside a CPU build of torch is built
    for another and fails when it is imported.
    """
    pytest.importorskip("torch")
    names = ("", ".datasets", ".transforms", ".transforms.functional", ".models")
    for name in names:
        sys.modules["torchvision" + name] = ModuleType("torchvision" + name)
    for name in ("CIFAR10", "CIFAR100", "STL10"):
        setattr(sys.modules["torchvision.datasets"], name, type(name, (), {}))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    functional = sys.modules["torchvision.transforms.functional"]
    sys.modules["torchvision.transforms"].functional = functional
    return pytest.importorskip("torch_fidelity")
