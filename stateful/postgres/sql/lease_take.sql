-- The lease for $4, for $5 ms, if nobody else holds it. Asked again, its holder gets the same.
insert into {schema}.lease as l (app, handler, partition, token, holder, until)
values ($1, $2, $3, 1, $4, clock_timestamp() + $5 * interval '1 ms')
on conflict (app, handler, partition) do update
set token = case when l.holder = $4 then l.token else l.token + 1 end, holder = $4,
    until = clock_timestamp() + $5 * interval '1 ms'
where l.holder = $4 or l.until <= clock_timestamp()
returning token
