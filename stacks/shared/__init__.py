"""What several stacks are built with."""
