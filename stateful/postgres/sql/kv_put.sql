-- Each key once, in their order, so that no two calls wait for each other.
insert into {schema}.kv (key, value, expires)
select u.key, u.value, case when u.ttl > 0 then now() + u.ttl * interval '1 ms' end
from unnest($1::bytea[], $2::bytea[], $3::int8[]) as u(key, value, ttl)
on conflict (key) do update set value = excluded.value, expires = excluded.expires
