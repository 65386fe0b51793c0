"""Evaluation: requests of an arm, its attempts by whole batches, their scores, and whose errors they were."""
