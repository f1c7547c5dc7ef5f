"""Services as they are: they lease, renew, release, forget and repeat, and write what they lease to a shelf of files."""
