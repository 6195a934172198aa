"""What the machine and the operating system do for the harness: text made safe, optional commands, limited reads."""
