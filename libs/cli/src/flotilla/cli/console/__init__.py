"""What the commands share: arguments, inputs from files, output for people and for programs."""
