insert into {table} ({columns})
select {columns} from unnest({arrays}) with ordinality as u({columns}, pondage_place)
order by pondage_place
