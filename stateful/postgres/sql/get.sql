-- The limit keeps the planner from reading a whole task instead of looking keys up.
select u.ord, e.value
from unnest($2::bytea[]) with ordinality as u(key, ord)
cross join lateral (select value from {schema}.entry where task = $1 and key = u.key limit 1) e
