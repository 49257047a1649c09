use super::reader::Reader;

/// Product search.
#[derive(Debug, Clone)]
pub struct SearchConfig {
    /// The engine that answers.
    pub engine: SearchEngine,
}

/// A search engine by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEngine {
    /// Full text and trigrams in Postgres.
    Postgres,
}

impl SearchConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { engine: reader.section("search").choice("engine", &[("postgres", SearchEngine::Postgres)]) }
    }
}
