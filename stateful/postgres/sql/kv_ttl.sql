-- How many milliseconds an entry has left, 0 when it does not expire.
select case when expires is null then 0 else greatest(1, ceil(extract(epoch from expires - now()) * 1000))::int8 end
from {schema}.kv where key = $1 and (expires is null or expires > now())
