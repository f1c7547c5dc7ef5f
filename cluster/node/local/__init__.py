"""A whole cluster on one machine, as `up` runs it: its layout, and the processes of its nodes."""
