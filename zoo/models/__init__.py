"""The architectures; one architecture, one file. Importing this package registers them with timm.

Files whose name begins with an underscore hold what several architectures share.
"""

from importlib import import_module
from pkgutil import iter_modules

__all__ = sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))

for _name in __all__:
    import_module(f"{__name__}.{_name}")
