"""Tells how well a trained classifier generalizes from its ONNX file and its training data.

Its doors, in the direction of the data:

``analyzer.surgery``
    finds the site, inserts the mask, cuts the graph
``analyzer.data``
    labelled samples and their declared preprocessing
``analyzer.ablation``
    cumulative unit ablation: correct counts per class
``analyzer.estimation``
    ζ, κ and the gap model
``analyzer.audit``
    the folder that people keep; :func:`analyzer.audit.run_audit` does it all
"""
