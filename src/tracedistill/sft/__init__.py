"""Training rows: traces as supervised examples, one dataset per arm, and the check of what is supervised."""
