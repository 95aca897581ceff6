
create schema if not exists {schema};

create table if not exists {schema}.pondage_format (version int4 not null);
insert into {schema}.pondage_format select 1 where not exists (select from {schema}.pondage_format);

create table if not exists {schema}.task (
  id int8 generated always as identity primary key,
  app text collate "C" not null,
  handler text collate "C" not null,
  partition int4 not null,
  epoch int8 not null default 0,
  owner int8 not null default 0,
  seq int8 not null default 0,
  token int8 not null default 0,
  unique (app, handler, partition)
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000);

create table if not exists {schema}.entry (
  task int8 not null,
  key bytea not null,
  value bytea not null,
  primary key (task, key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

create table if not exists {schema}.lease (
  app text collate "C" not null,
  handler text collate "C" not null,
  partition int4 not null,
  token int8 not null,
  holder int8 not null,
  until timestamptz not null,
  primary key (app, handler, partition)
);

create table if not exists {schema}.kv (
  key bytea primary key,
  value bytea not null,
  expires timestamptz
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index if not exists kv_expires on {schema}.kv (expires) where expires is not null;

create table if not exists {schema}.cursor (
  sink text collate "C" not null,
  app text collate "C" not null,
  handler text collate "C" not null,
  partition int4 not null,
  incarnation int8 not null,
  epoch int8 not null,
  seq int8 not null,
  primary key (sink, app, handler, partition)
) with (fillfactor = 10);

insert into {schema}.task (app, handler, partition, epoch, owner, seq, token) values ('app', 'h', 7, 3, -5, 2, -1);
insert into {schema}.entry (task, key, value) select id, '\x00ff', '\x01' from {schema}.task;
insert into {schema}.entry (task, key, value) select id, 'a', '' from {schema}.task;
insert into {schema}.lease values ('app', 'h', 7, 4, 9, '-infinity');
insert into {schema}.kv values ('p:k', 'v', null);
insert into {schema}.cursor values ('postgres', 'app', 'h', 7, 0, 3, 12);
