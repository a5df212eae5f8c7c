"""The serving stack: endpoint, scaling, alarms, batch transform."""
