insert into {table} ({columns})
select {columns} from (
  select distinct on ({key}) * from unnest({arrays}) with ordinality as u({columns}, pondage_place)
  order by {key}, pondage_place desc
) latest
on conflict ({key}) do update set {updates}
