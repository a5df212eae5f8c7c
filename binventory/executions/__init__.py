"""Pipeline executions: started, followed, explained."""
