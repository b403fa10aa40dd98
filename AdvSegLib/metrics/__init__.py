"""What is measured: overlap of label maps, and how visible a change of intensities is."""
