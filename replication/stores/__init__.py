"""The outside stores: one protocol for sources, one for destinations, one package for each kind."""
