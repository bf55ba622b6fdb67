"""The supply chain: what is installed, what it is made of, and what is known against it."""
