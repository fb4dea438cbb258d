"""Tells how well a trained classifier generalizes from its ONNX file and its training data.

>>> import analyzer
>>> audit = analyzer.audit_network("zoo:digits-c40", out="audit-c40")
>>> audit.zeta, audit.gap.estimate, audit.classes[0]["name"]

The parts behind it, in the direction of the data: :mod:`analyzer.surgery` finds the site, inserts
the mask and cuts the graph; :mod:`analyzer.data` reads labeled samples; :mod:`analyzer.runtime`
runs networks; :mod:`analyzer.measures` looks at a network, one folder a measure;
:mod:`analyzer.estimation` fits and applies gap models; :mod:`analyzer.audit` makes the folder that
people keep.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
