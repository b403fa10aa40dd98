"""The judge: what a defense withstands, whether it only hides its gradients, and what can be certified of it."""
