-- Values of the key-value API that have not expired, as everywhere by the server's clock.
select u.ord, e.value
from unnest($1::bytea[]) with ordinality as u(key, ord)
cross join lateral (
  select value from {schema}.kv where key = u.key and (expires is null or expires > now()) limit 1) e
