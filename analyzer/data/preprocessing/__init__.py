"""From an image as it is stored to what a network takes.

:mod:`.preprocess_options` declares what can be asked for, :mod:`.spec` reads what a preset or a
file declares, :mod:`.resolve` decides what is done for one network and one source, and
:mod:`.steps` does it.
"""
