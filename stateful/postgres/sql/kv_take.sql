-- The value that is removed, and whether it had not expired.
delete from {schema}.kv where key = $1 returning value, expires is null or expires > now()
