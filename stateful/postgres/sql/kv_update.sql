-- An entry in the place of one with the value $4.
update {schema}.kv
set value = $2, expires = case when $3::int8 > 0 then now() + $3 * interval '1 ms' end
where key = $1 and value = $4 and (expires is null or expires > now())
returning true
