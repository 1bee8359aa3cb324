"""The commands of `flotilla`, a module each; one is imported when it is run."""
