"""Evaluation: an arm's requests, its attempts in whole batches, their scores, and the attribution of errors."""
