use poem_openapi::{Enum, Object};
use uuid::Uuid;
use waybill_jobs::erase::{Counts, Live};

/// What becomes of the person's jobs that are not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum)]
#[oai(rename = "LiveJobs", rename_all = "snake_case")]
pub enum LiveDto {
    /// They end as they would; erase again when they have.
    #[default]
    Leave,
    /// They are cancelled. An order that holds stock is undone at its deadline; one that waits for stock may still
    /// be carried out: cancel it first.
    Cancel,
}

impl LiveDto {
    /// As audits name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Cancel => "cancel",
        }
    }
}

impl From<LiveDto> for Live {
    fn from(live: LiveDto) -> Self {
        match live {
            LiveDto::Leave => Self::Leave,
            LiveDto::Cancel => Self::Cancel,
        }
    }
}

/// An erasure.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
pub struct EraseBody {
    /// What becomes of the person's jobs that are not over; `leave` by default.
    pub live: Option<LiveDto>,
}

/// What was emptied. The rows stay, so that counts and trails hold.
#[derive(Debug, Object)]
pub struct Erased {
    /// The person.
    pub id: Uuid,
    /// Finished jobs.
    pub jobs: i64,
    /// Dead letters.
    pub dead_letters: i64,
    /// Lines of jobs' logs.
    pub log_lines: i64,
    /// Batches and workflows.
    pub flows: i64,
    /// Published events that held the buyer's own reference.
    pub events: i64,
    /// Bodies of webhook deliveries that are over.
    pub deliveries: i64,
    /// Recipients of mails.
    pub mails: i64,
    /// Jobs, batches and workflows that are not over yet and so were left as they are: erase again when this was not 0.
    pub live: i64,
}

impl Erased {
    /// As counted.
    pub fn new(id: Uuid, counts: Counts) -> Self {
        Self {
            id,
            jobs: counts.jobs,
            dead_letters: counts.dead_letters,
            log_lines: counts.log_lines,
            flows: counts.flows,
            events: counts.events,
            deliveries: counts.deliveries,
            mails: counts.mails,
            live: counts.live,
        }
    }
}
