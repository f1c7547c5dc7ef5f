"""What every storage promises, held against each; and what PostgreSQL goes through."""
