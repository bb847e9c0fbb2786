"""How fast this machine is, and how near a training step comes to it: `app bench`."""
