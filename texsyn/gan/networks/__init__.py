"""Networks of the general image GANs: what is made (design), blocks (layers), and one file a family."""
