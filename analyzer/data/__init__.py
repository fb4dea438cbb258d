"""Sources of labeled samples, and the declared preprocessing that brings them to a network.

Names are imported when they are first asked for: declaring options needs neither Pillow nor the
formats of data.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
