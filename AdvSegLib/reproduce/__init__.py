"""The tables and figures of four papers, each by one command: published number beside ours, with its uncertainty."""
