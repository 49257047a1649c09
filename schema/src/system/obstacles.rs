//! Why what an operator wants cannot be done to a job.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Array, Bool, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Conn, sql};

crate::text_enum! {
    /// What is in the way.
    pub enum Why {
        /// Its state: it runs, or is over.
        State = "state",
        /// Its arguments were erased.
        Erased = "erased",
        /// It is a step of a workflow that is over, or turns back.
        FlowOver = "flow_over",
        /// Another job has its unique slot.
        SlotTaken = "slot_taken",
        /// It undoes a step of a workflow.
        UndoesStep = "undoes_step",
        /// It was cancelled before, and is about to end.
        CancelAsked = "cancel_asked",
        /// It carries an order, which goes on without it.
        OrderUnderWay = "order_under_way",
    }
}

/// A job that is left alone.
#[derive(Debug, Clone, QueryableByName)]
pub struct Obstacle {
    /// The job.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// What is in the way.
    #[diesel(sql_type = Text)]
    pub why: Why,
    /// Where it is now.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// The flow it is part of.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub flow_id: Option<Uuid>,
    /// Whose trail it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub correlation_id: Option<Uuid>,
    /// Who has its unique slot.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub holder: Option<Uuid>,
}

/// Whether `d`, a dead letter, is a step that its workflow has done with: running it now would do what everything around it
/// has undone. What undoes is wanted until the workflow is over; a batch has no order in which its jobs could come too late.
macro_rules! shut {
    () => {
        "(d.step is not null and d.flow_id is not null and not exists (
             select from flows f where f.id = d.flow_id
               and (f.kind = 'batch' or f.finished_at is null and (
                    f.state = 'running' or d.undo
                    or exists (select from flow_steps s where s.flow_id = f.id and s.undo_job_id = d.id)))))"
    };
}
pub(super) use shut;

/// Those of `ids` to which `action` (`retry`, `cancel` or `discard`) cannot be done now, and why. `force` takes no notice of
/// unique slots. Jobs of the kinds `with_order` are carried on with by their order as long as it is pending.
///
/// The answer is of a moment: the statements that act guard themselves.
pub async fn obstacles(
    conn: &mut Conn,
    ids: &[Uuid],
    action: &str,
    force: bool,
    with_order: &[&str],
) -> QueryResult<Vec<Obstacle>> {
    sql(concat!(
        "with found as (
             select id, kind, state, flow_id, correlation_id, unique_key, cancel is not null as asked, false as erased,
                    false as shut, exists (select from flow_steps s where s.flow_id = j.flow_id and s.undo_job_id = j.id) as undoes
             from jobs j where id = any($1)
             union all
             select id, kind, 'dead', flow_id, correlation_id, unique_key, false, erased_at is not null, ",
        shut!(),
        ", false
             from dead_letters d where id = any($1)
             union all
             select id, kind, state, flow_id, correlation_id, unique_key, false, erased_at is not null, false, false
             from job_history where id = any($1)),
         looked as (
             select f.*, u.job_id as holder,
                    f.kind = any($4) and exists (
                        select from orders o where o.id = f.correlation_id and o.status = 'pending') as carries
             from found f
             left join job_uniques u on u.key = f.unique_key and u.job_id <> f.id
                  and (u.scope <> 'window' or u.until > clock_timestamp())),
         judged as (
             select id, state, flow_id, correlation_id, holder, case $2
                 when 'retry' then case
                     when state in ('queued', 'running') then 'state'
                     when erased then 'erased'
                     when shut then 'flow_over'
                     when holder is not null and state <> 'scheduled' and not $3 then 'slot_taken' end
                 when 'cancel' then case
                     when state not in ('scheduled', 'queued', 'running') then 'state'
                     when undoes then 'undoes_step'
                     when asked then 'cancel_asked'
                     when carries then 'order_under_way' end
                 else case
                     when state not in ('scheduled', 'queued', 'dead') then 'state'
                     when carries then 'order_under_way' end
                 end as why
             from looked)
         select id, why, state, flow_id, correlation_id, holder from judged where why is not null"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Text, _>(action)
    .bind::<Bool, _>(force)
    .bind::<Array<Text>, _>(with_order)
    .load(conn)
    .await
}
