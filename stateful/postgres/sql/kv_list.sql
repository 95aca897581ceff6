select key from {schema}.kv
where key >= $1 and ($2::bytea is null or key < $2) and (expires is null or expires > now())
order by key
limit $3::int8
