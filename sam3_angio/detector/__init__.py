"""SAM 3 as this project uses it: the only package that imports torch and ``sam3``.

``sam3`` cannot be imported without Triton, two of whose decorators stand above kernels that only a
GPU runs. Where Triton is missing these two modules are imported with a stand-in for it, and
:mod:`~sam3_angio.detector.runtime` takes the formulas in plain PyTorch instead.
"""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Said by sam3 and its dependencies when they are imported; nothing here can be done about either.
warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")
warnings.filterwarnings("ignore", message=".*Disabling autocast")

HAS_TRITON = find_spec("triton") is not None


def _import_with_stand_in() -> None:
    import_module("torch._inductor.runtime.triton_helpers")  # before, to see that there is none
    stand_in, language = ModuleType("triton"), ModuleType("triton.language")
    vars(stand_in).update(jit=lambda kernel: kernel, language=language)
    vars(language).update(constexpr=int)
    sys.modules.update({"triton": stand_in, "triton.language": language})
    try:
        import_module("sam3.model.edt")
        import_module("sam3.train.loss.sigmoid_focal_loss")
    finally:
        del sys.modules["triton"], sys.modules["triton.language"]


if not HAS_TRITON:
    _import_with_stand_in()
