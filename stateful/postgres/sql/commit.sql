-- One commit, whole or not at all: only if the head, $2 to $5, is the one that its owner left. A newer owner
-- waits for the row until it is decided. Otherwise it fails, by a division by zero, and with it what joined the commit.
with fence as (
  update {schema}.task set seq = $6, token = $7
  where id = $1 and epoch = $2 and owner = $3 and seq = $4 and token = $5
  returning id
), removed as (
  delete from {schema}.entry
  where exists (select from fence) and ctid = any(array(
    select e.ctid
    from unnest($8::bytea[]) as u(key)
    cross join lateral (select ctid from {schema}.entry where task = $1 and key = u.key limit 1) e))
), written as (
  insert into {schema}.entry (task, key, value)
  select fence.id, u.key, u.value
  from fence, unnest($9::bytea[], $10::bytea[]) as u(key, value)
  on conflict (task, key) do update set value = excluded.value
)
select 1 / count(*) from fence
