select true
where not exists (select from {schema}.kv where key = $1 and (expires is null or expires > now()))
