"""The panel: one presenter a section, and what it shows in the views. Only this folder touches Qt and renderers."""
