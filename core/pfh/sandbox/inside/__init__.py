"""What runs inside the sandbox. Standard library only: nothing else of pfh can be imported there."""
