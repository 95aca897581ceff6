-- A counter, with $2 added. A new one begins with that and lives for $3 ms. Returns nothing when the value is no counter.
insert into {schema}.kv as k (key, value, expires)
values ($1, convert_to($2::int8::text, 'UTF8'), case when $3::int8 > 0 then now() + $3 * interval '1 ms' end)
on conflict (key) do update set
  value = case when k.expires <= now() then excluded.value else convert_to((convert_from(k.value, 'UTF8')::int8 + $2)::text, 'UTF8') end,
  expires = case when k.expires <= now() then excluded.expires else k.expires end
where k.expires <= now() or convert_from(k.value, 'UTF8') ~ '^(0|-?[1-9][0-9]*)$'
returning convert_from(value, 'UTF8')::int8
