"""StyleGANs of others as models of ours, and ours under the names of others.

sources reads a file as data, pickles the hardest kind of it; layouts has the names; models puts the two together.
"""
