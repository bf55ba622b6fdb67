"""The outside stores: one protocol for sources, one for destinations, one module for each kind."""
