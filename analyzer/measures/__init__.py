"""Ways of looking at a network, one folder each; :mod:`.registry` lists them."""
