"""Where images come from: folders of published data sets, and phantoms drawn from a seed."""
