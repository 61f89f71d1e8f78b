"""The commands of `snnzoo`; one command, one file."""
