"""Native kernels of the decoder: compiled on this machine, or else torch's operations are used."""
