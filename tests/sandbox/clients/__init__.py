"""`make clients`: tests of the OSS stand-in with clients that are too heavy for the suite."""
