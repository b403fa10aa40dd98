"""The model under attack, differentiable from the image the reader sees to the logits; its files and catalogue."""
