select key, value from {schema}.entry
where task = $1 and key >= $2 and ($3::bytea is null or key < $3)
order by key
limit $4
