"""Reference networks: what ships in the package, and how it was made.

Names are imported when they are first asked for: looking things up needs numpy and the standard
library alone. Training needs the extra ``zoo``; torch is imported only once a network is trained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
