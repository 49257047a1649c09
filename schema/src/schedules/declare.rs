//! The schedules of the code: which of several programs has the word, and when one is no longer declared.

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::{
    OptionalExtension, QueryResult, QueryableByName,
    sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz},
};
use diesel_async::RunQueryDsl;

use super::{ScheduleRow, now, spec::Spec};
use crate::{Conn, sql::sql};

/// A schedule of the code that nobody has declared for this long is no longer part of it. Longer than a roll-out, in which an old
/// release that restarts knows less than the new one.
const FORGOTTEN_AFTER: &str = "1 hour";

/// A program that declares schedules.
#[derive(Debug, Clone)]
pub struct Declarer {
    /// Where it runs, for people.
    pub name: String,
    /// Its release as a number that grows from one to the next.
    pub release: i64,
    /// When it was started, by the database's clock.
    pub started: DateTime<Utc>,
    /// For the first time since then.
    pub anew: bool,
}

/// What became of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// The schedule is as was declared.
    Agreed,
    /// It is, and was not what this program of the same release, another build, had declared.
    Instead(String),
    /// It is not: this program of the same release, another build, was started later.
    Overruled(String),
    /// It is not: a higher release has the word.
    Older,
}

#[derive(QueryableByName)]
struct Before {
    #[diesel(sql_type = Bool)]
    differed: bool,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    started: Option<DateTime<Utc>>,
}

impl Before {
    fn said(self) -> String {
        let name = self.name.unwrap_or_else(|| "somebody".to_owned());
        match self.started {
            Some(at) => format!("{name}, started {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            None => name,
        }
    }
}

macro_rules! content {
    ($of:literal) => {
        concat!(
            "(",
            $of,
            ".spec, ",
            $of,
            ".time_zone, ",
            $of,
            ".missed, ",
            $of,
            ".missed_limit, ",
            $of,
            ".overlap, ",
            $of,
            ".kind, ",
            $of,
            ".version, ",
            $of,
            ".queue, ",
            $of,
            ".max_attempts, ",
            $of,
            ".payload)"
        )
    };
}

// What is declared, and what was there before of the same release.
macro_rules! declared {
    () => {
        concat!(
            "with d as materialized (
                 select $1::text as name, $2::text as spec, $3::text as time_zone, $4::text as missed,
                        $5::integer as missed_limit, $6::text as overlap, $7::text as kind, $8::smallint as version,
                        $9::text as queue, $10::smallint as max_attempts, $11::jsonb as payload),
             before as materialized (
                 select s.name, ",
            content!("s"),
            " is distinct from ",
            content!("d"),
            " as differed, s.declared_by, s.declared_start
                 from schedules s join d on d.name = s.name where s.origin = 'code' and s.release = $12)"
        )
    };
}

macro_rules! bound {
    ($query:expr, $row:expr, $by:expr) => {
        sql($query)
            .bind::<Text, _>(&$row.name)
            .bind::<Text, _>(&$row.spec)
            .bind::<Text, _>(&$row.time_zone)
            .bind::<Text, _>($row.missed)
            .bind::<Integer, _>($row.missed_limit)
            .bind::<Text, _>($row.overlap)
            .bind::<Text, _>(&$row.kind)
            .bind::<SmallInt, _>($row.version)
            .bind::<Text, _>(&$row.queue)
            .bind::<SmallInt, _>($row.max_attempts)
            .bind::<Jsonb, _>(&$row.payload)
            .bind::<BigInt, _>($by.release)
    };
}

/// Writes a schedule that the code declares. Of two releases the higher one has the word, of two builds of one release the one that
/// was started last, until it has not declared it for an hour. A new schedule is due at once. Its times are kept when its spec has
/// not changed, so that a restart neither forgets a missed time nor fires one twice; one whose spec has changed waits for the next
/// time of the new one; an operator's pause is kept always; one that rests because it could not be fired is tried anew, if the
/// caller has just started.
pub async fn declare(conn: &mut Conn, row: &ScheduleRow, by: &Declarer) -> QueryResult<Declared> {
    let now = now(conn).await?;
    // One that cannot be read is due: the scheduler that comes to it says why it rests.
    let next = Spec::parse(&row.spec, &row.time_zone).and_then(|spec| spec.next(now)).unwrap_or(Some(now));
    let written: Option<Before> = bound!(
        concat!(
            declared!(),
            "insert into schedules (name, origin, spec, time_zone, missed, missed_limit, overlap, kind, version, queue,
                                    max_attempts, payload, next_at, declared_at, release, declared_by, declared_start)
             select name, 'code', spec, time_zone, missed, missed_limit, overlap, kind, version, queue, max_attempts, payload,
                    now(), now(), $12, $13, $14
             from d
             on conflict (name) do update set
                 spec = excluded.spec, time_zone = excluded.time_zone, missed = excluded.missed,
                 missed_limit = excluded.missed_limit, overlap = excluded.overlap, kind = excluded.kind,
                 version = excluded.version, queue = excluded.queue, max_attempts = excluded.max_attempts,
                 payload = excluded.payload, origin = 'code', declared_at = excluded.declared_at, release = excluded.release,
                 declared_by = excluded.declared_by, declared_start = excluded.declared_start,
                 paused = schedules.paused and (schedules.problem is null or not $15),
                 problem = case when $15 then null else schedules.problem end,
                 next_at = case when (schedules.spec, schedules.time_zone) = (excluded.spec, excluded.time_zone)
                                then schedules.next_at else $17 end
             where coalesce(schedules.release, 0) < excluded.release
                or schedules.release = excluded.release
                   and coalesce(schedules.declared_start <= excluded.declared_start, true)
                or coalesce(schedules.declared_at < now() - $16::interval, true)
             returning coalesce((select differed from before), false) as differed,
                       (select declared_by from before) as name, (select declared_start from before) as started"
        ),
        row,
        by
    )
    .bind::<Text, _>(&by.name)
    .bind::<Timestamptz, _>(by.started)
    .bind::<Bool, _>(by.anew)
    .bind::<Text, _>(FORGOTTEN_AFTER)
    .bind::<Nullable<Timestamptz>, _>(next)
    .get_result(conn)
    .await
    .optional()?;
    match written {
        Some(before) if before.differed => Ok(Declared::Instead(before.said())),
        Some(_) => Ok(Declared::Agreed),
        None => overruled(conn, row, by).await,
    }
}

/// One that says the same as who has the word keeps it alive: they are of one build.
async fn overruled(conn: &mut Conn, row: &ScheduleRow, by: &Declarer) -> QueryResult<Declared> {
    let other: Option<Before> = bound!(
        concat!(
            declared!(),
            ", same as (
                 update schedules s set declared_at = now()
                 from before b where s.name = b.name and not b.differed)
             select differed, declared_by as name, declared_start as started from before"
        ),
        row,
        by
    )
    .get_result(conn)
    .await
    .optional()?;
    Ok(match other {
        None => Declared::Older,
        Some(other) if other.differed => Declared::Overruled(other.said()),
        Some(_) => Declared::Agreed,
    })
}

/// Removes schedules of the code that are not among those `declared` here, and that nobody else has declared for an hour.
pub async fn forget_undeclared(conn: &mut Conn, declared: &[&str]) -> QueryResult<usize> {
    // From releases that did not say when: as if it were now.
    sql("update schedules set declared_at = now() where origin = 'code' and declared_at is null and name <> all($1)")
        .bind::<Array<Text>, _>(declared)
        .execute(conn)
        .await?;
    sql("delete from schedules
         where origin = 'code' and name <> all($1) and declared_at < now() - $2::interval")
    .bind::<Array<Text>, _>(declared)
    .bind::<Text, _>(FORGOTTEN_AFTER)
    .execute(conn)
    .await
}
