"""Storage without a server: its rules, its files, and what errors mean."""
