"""Ways of looking at a network, one folder each.

Names are imported when they are first asked for: reading an audit needs no onnxruntime.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
