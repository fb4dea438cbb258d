"""From ζ, κ and other features of a network to an estimate of its generalization gap.

Names are imported when they are first asked for: an estimate needs nothing of what fits gap models.
scipy and scikit-learn are imported only where one is fitted or scored; reading one and estimating
need numpy alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
