-- Removes up to $1 entries that expired, but none that another call works on.
delete from {schema}.kv
where ctid = any(array(
  select ctid from {schema}.kv where expires <= now() order by expires limit $1::int8 for update skip locked))
