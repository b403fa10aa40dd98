"""Reports of runs: pages that need nothing but a browser."""
