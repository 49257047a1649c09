//! Claiming from a queue with limits.
//!
//! Claims from such a queue go one after the other: each locks the queue's row of controls, counts what runs, and takes no
//! more than fits. What ends meanwhile only makes room. Queues without limits never come here.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryResult, QueryableByName};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;
use waybill_schema::Conn;

use super::claim::{Ask, Claimed, Claims, may_run, take, take_them, taken, turn};

/// How long until room is looked for again that the end of a job makes.
const ROOM: Duration = Duration::from_millis(50);
/// The same where time makes it.
const REFILL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Ready jobs looked at in one claim of a queue with limits per key. Those that do not fit are held and not met again.
const HEAD: i64 = 1_000;

#[derive(QueryableByName)]
struct Controls {
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Bool)]
    key_limited: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    max_running: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    max_per_key: Option<i32>,
    #[diesel(sql_type = Nullable<Double>)]
    tokens: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    seconds_per_token: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    key_seconds_per_token: Option<f64>,
    #[diesel(sql_type = Nullable<Integer>)]
    key_burst: Option<i32>,
}

#[derive(QueryableByName)]
struct Running {
    #[diesel(sql_type = BigInt)]
    running: i64,
}

/// Claims what the limits allow, in a transaction of its own.
///
/// Whoever comes while another claims here asks again in a moment. It does not wait: its other queues would wait with it, and if the
/// other's worker hangs, for as long as it hangs.
pub(super) async fn claims(conn: &mut Conn, ask: &Ask<'_>) -> QueryResult<Claims> {
    let Ask { queue, worker, limit, .. } = *ask;
    conn.transaction(async |conn| {
        let controls: Option<Controls> = waybill_schema::sql(
            "select paused_at is not null as paused, key_limited, max_running, max_per_key,
                    least(rate_burst, coalesce(tokens + greatest(0, extract(epoch from clock_timestamp() - filled_at))
                                                        * rate / rate_period, rate_burst))::float8 as tokens,
                    rate_period / rate as seconds_per_token, key_rate_period / key_rate as key_seconds_per_token,
                    key_rate_burst as key_burst
             from queue_controls where queue = $1 for update skip locked",
        )
        .bind::<Text, _>(queue)
        .get_result(conn)
        .await
        .optional()?;
        let Some(controls) = controls else {
            return Ok(Claims { again: Some(REFILL.0), ..Claims::default() });
        };
        if controls.paused {
            return Ok(Claims::default());
        }
        let mut room = limit;
        if let Some(most) = controls.max_running {
            // A statement after the lock: it sees what the claim before has taken.
            let Running { running } = waybill_schema::sql(
                "select count(*) as running from running_jobs where queue = $1",
            )
            .bind::<Text, _>(queue)
            .get_result(conn)
            .await?;
            room = room.min(usize::try_from(i64::from(most) - running).unwrap_or(0));
        }
        if let Some(tokens) = controls.tokens {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and the burst
            let whole = tokens.max(0.0).floor() as usize;
            room = room.min(whole);
        }
        let again = again(&controls, room, limit);
        if room == 0 {
            return Ok(Claims { again: Some(again), ..Claims::default() });
        }
        let jobs = if controls.key_limited {
            by_key(conn, queue, worker, room, &controls).await?
        } else {
            take(conn, &Ask { limit: room, after: None, over: &[], ..*ask }, true).await?
        };
        if controls.tokens.is_some() && !jobs.is_empty() {
            spend(conn, queue, jobs.len()).await?;
        }
        if controls.key_seconds_per_token.is_some() {
            spend_by_key(conn, queue, &jobs, &controls).await?;
        }
        let short = jobs.len() == room && room < limit
            || jobs.len() < room && controls.key_limited && holds_keys(conn, queue).await?;
        // No place to go on from: what a limit kept back stands in front of what was taken.
        Ok(Claims { jobs, again: short.then_some(again), reached: None })
    })
    .await
}

/// Whether jobs of the queue wait for their keys.
async fn holds_keys(conn: &mut Conn, queue: &str) -> QueryResult<bool> {
    let held: Option<Running> = waybill_schema::sql(
        "select 1::bigint as running from jobs where queue = $1 and hold = 'key' limit 1",
    )
    .bind::<Text, _>(queue)
    .get_result(conn)
    .await
    .optional()?;
    Ok(held.is_some())
}

/// When it is worth to ask again: as soon as there is a token, or when a job may have ended.
fn again(controls: &Controls, room: usize, limit: usize) -> Duration {
    match (controls.tokens, controls.seconds_per_token) {
        (Some(tokens), Some(seconds)) if room < limit && tokens < 1.0 => {
            let wait = Duration::try_from_secs_f64((1.0 - tokens) * seconds).unwrap_or(REFILL.1);
            wait.clamp(REFILL.0, REFILL.1)
        }
        _ => ROOM,
    }
}

/// Takes the first jobs whose keys have room, from the ready ones and from those held for their keys, and holds the ready
/// ones of keys that have none.
///
/// The keys with held jobs are found by skipping from one to the next: some ten microseconds each.
async fn by_key(
    conn: &mut Conn,
    queue: &str,
    worker: Uuid,
    room: usize,
    controls: &Controls,
) -> QueryResult<Vec<Claimed>> {
    waybill_schema::sql(concat!(
        "with recursive held_keys as (
             (select limit_key from jobs where queue = $1 and hold = 'key' order by limit_key limit 1)
             union all
             select (select j.limit_key from jobs j where j.queue = $1 and j.hold = 'key' and j.limit_key > k.limit_key
                     order by j.limit_key limit 1)
             from held_keys k where k.limit_key is not null),
         head as materialized (
             select j.id, j.limit_key, ",
        turn!(),
        " as turn
             from jobs j
             where queue = $1 and due and state = 'queued' and hold is null
               and exists (select from workers where id = $2) and ",
        may_run!(),
        " order by ",
        turn!(),
        ", id limit $4),
         room as materialized (
             select k.limit_key,
                    least(coalesce($5 - (select count(*) from jobs r
                                         where r.queue = $1 and r.running_limit_key = k.limit_key),
                                   1000000),
                          coalesce(floor(case when $6 is null then null
                              else least($7, coalesce(
                                  (select b.tokens + greatest(0, extract(epoch from clock_timestamp() - b.filled_at)) / $6
                                   from limit_key_buckets b where b.queue = $1 and b.limit_key = k.limit_key), $7)) end),
                              1000000))::bigint as room
             from (select limit_key from held_keys where limit_key is not null
                   union select limit_key from head where limit_key is not null) k),
         waiting as (
             select id, limit_key, turn from head
             union all
             select w.id, w.limit_key, w.turn
             from held_keys k
             join room r on r.limit_key = k.limit_key and r.room > 0
             cross join lateral (
                 select j.id, j.limit_key, ",
        turn!(),
        " as turn from jobs j
                 where j.queue = $1 and j.hold = 'key' and j.limit_key = k.limit_key
                   and exists (select from workers where id = $2) and ",
        may_run!(),
        " order by ",
        turn!(),
        ", id limit least(r.room, $3)) w),
         placed as materialized (
             select w.id, w.turn, r.room is null or row_number() over (partition by w.limit_key order by w.turn, w.id)
                 <= r.room as fits
             from waiting w left join room r on r.limit_key = w.limit_key),
         held as (
             update jobs set hold = 'key'
             where ctid = any (array(
                 select ctid from jobs j
                 where id = any (array(select id from placed where not fits)) and state = 'queued' and hold is null
                 for no key update skip locked))), ",
        take_them!(),
        " where ctid = any (array(
             select ctid from jobs j
             where id = any (array(select id from placed where fits order by turn, id limit $3)) and state = 'queued'
               and (hold is null or hold = 'key')
             for no key update skip locked)) ",
        taken!()
    ))
    .bind::<Text, _>(queue)
    .bind::<SqlUuid, _>(worker)
    .bind::<BigInt, _>(i64::try_from(room).unwrap_or(i64::MAX))
    .bind::<BigInt, _>(HEAD)
    .bind::<Nullable<Integer>, _>(controls.max_per_key)
    .bind::<Nullable<Double>, _>(controls.key_seconds_per_token)
    .bind::<Nullable<Integer>, _>(controls.key_burst)
    .load(conn)
    .await
}

async fn spend(conn: &mut Conn, queue: &str, jobs: usize) -> QueryResult<()> {
    waybill_schema::sql(
        "update queue_controls
         set tokens = least(rate_burst, coalesce(tokens + greatest(0, extract(epoch from clock_timestamp() - filled_at))
                                                          * rate / rate_period, rate_burst)) - $2,
             filled_at = clock_timestamp()
         where queue = $1",
    )
    .bind::<Text, _>(queue)
    .bind::<Integer, _>(i32::try_from(jobs).unwrap_or(i32::MAX))
    .execute(conn)
    .await
    .map(drop)
}

async fn spend_by_key(
    conn: &mut Conn,
    queue: &str,
    jobs: &[Claimed],
    controls: &Controls,
) -> QueryResult<()> {
    let keys: Vec<_> = jobs.iter().filter_map(|job| job.limit_key.as_deref()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    waybill_schema::sql(
        "insert into limit_key_buckets as b (queue, limit_key, tokens, filled_at)
         select $1, key, $4::float8 - count(*), clock_timestamp() from unnest($2) as t(key) group by key
         on conflict (queue, limit_key) do update
         set tokens = least($4, b.tokens + greatest(0, extract(epoch from clock_timestamp() - b.filled_at)) / $3)
                      - ($4::float8 - excluded.tokens),
             filled_at = clock_timestamp()",
    )
    .bind::<Text, _>(queue)
    .bind::<Array<Text>, _>(keys)
    .bind::<Nullable<Double>, _>(controls.key_seconds_per_token)
    .bind::<Nullable<Integer>, _>(controls.key_burst)
    .execute(conn)
    .await
    .map(drop)
}
