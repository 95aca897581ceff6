-- An entry where none is.
insert into {schema}.kv as k (key, value, expires)
values ($1, $2, case when $3::int8 > 0 then now() + $3 * interval '1 ms' end)
on conflict (key) do update set value = excluded.value, expires = excluded.expires where k.expires <= now()
returning true
