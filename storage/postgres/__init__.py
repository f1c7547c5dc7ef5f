"""Storage in PostgreSQL 13 or newer, through asyncpg (the extra `postgres`)."""
