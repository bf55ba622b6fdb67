"""Local stand-ins for the demo and the tests. The product never imports them."""
