-- Nothing in the place of an entry with the value $2.
delete from {schema}.kv where key = $1 and value = $2 and (expires is null or expires > now())
returning true
