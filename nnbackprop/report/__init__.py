"""What people see of a run: progress, tables and plots, out of events and host numbers alone."""
