"""What every function needs: clients, its environment, its report."""
