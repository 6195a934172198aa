"""Services of the machine and the operating system: safe text, optional commands, limited reads."""
