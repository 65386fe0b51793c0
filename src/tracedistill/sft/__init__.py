"""Training rows: traces as supervised examples, one dataset per arm, and the preflight check."""
