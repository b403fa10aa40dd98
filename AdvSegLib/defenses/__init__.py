"""Defenses: ways to train. Each says, batch by batch, what the network is shown and what it is held to."""
