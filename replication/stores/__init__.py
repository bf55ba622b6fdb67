"""Object stores: one protocol for sources, one for destinations, and a package for each kind."""
