"""Adversarial training: losses as functions of logits, penalties, and one loop of phases for all of it."""
