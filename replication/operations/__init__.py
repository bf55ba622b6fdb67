"""Actions of people and programs on the service, and the records that are kept of them."""
