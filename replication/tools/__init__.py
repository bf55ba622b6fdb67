"""The tools that operators run by hand: doctor, provisioning, the rules file, verify."""
