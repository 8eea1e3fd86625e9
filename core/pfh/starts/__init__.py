"""The model that pfh brings along: the embedded one, which as it comes is the BASE start."""
