"""Storage in a folder: nothing to install, and as durable as the disk it is on."""
