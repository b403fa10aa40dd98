"""From phantoms to a model in the catalogue: recipes, augmentation, the loop."""
