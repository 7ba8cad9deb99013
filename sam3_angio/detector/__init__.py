"""SAM 3 as this project uses it: the only package that imports torch and ``sam3``."""

import warnings

# Said by sam3 and its dependencies when they are imported; nothing here can be done about either.
warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")
warnings.filterwarnings("ignore", message=".*Disabling autocast")
