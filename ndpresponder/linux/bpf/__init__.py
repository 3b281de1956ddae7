"""Extended BPF by its system call: programs, maps, links, and the object files they come from."""
