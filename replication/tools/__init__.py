"""doctor, provisioning, the rules file, verify: what is run by hand."""
