-- The cursor of a producer, once no older one can move it. No row when there is a newer one.
with was as (
  select epoch from {schema}.cursor where sink = $1 and app = $2 and handler = $3 and partition = $4
)
insert into {schema}.cursor as c (sink, app, handler, partition, incarnation, epoch, seq)
values ($1, $2, $3, $4, $5, $6, 0)
on conflict (sink, app, handler, partition) do update
set seq = case when c.incarnation = $5 then c.seq else 0 end, incarnation = $5, epoch = $6
where (c.incarnation, c.epoch) <= ($5, $6)
returning c.seq, coalesce((select epoch from was), 0)
