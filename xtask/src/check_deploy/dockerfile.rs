//! The stages of a Dockerfile and what they hold.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Stage {
    /// The image or stage it starts from.
    base: String,
    /// What `COPY` puts at its last argument, by file name.
    files: Vec<String>,
    /// First word of `CMD`.
    command: Option<String>,
    /// Stages that `COPY --from` names.
    sources: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Dockerfile {
    stages: BTreeMap<String, Stage>,
    /// Every `--bin` that Cargo is told to build.
    built: Vec<String>,
}

impl Dockerfile {
    pub fn parse(text: &str) -> Self {
        let mut dockerfile = Self::default();
        let mut current = String::new();
        for instruction in text.replace("\\\n", " ").lines() {
            let words: Vec<_> = instruction.split_whitespace().collect();
            let Some((keyword, rest)) = words.split_first() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "FROM" => {
                    let name = rest.iter().skip_while(|word| !word.eq_ignore_ascii_case("as")).nth(1);
                    (*name.unwrap_or(&"")).clone_into(&mut current);
                    let base = (*rest.first().unwrap_or(&"")).to_owned();
                    dockerfile.stages.insert(current.clone(), Stage { base, ..Stage::default() });
                }
                "RUN" => {
                    let built = rest.windows(2).filter(|pair| pair[0] == "--bin").map(|pair| pair[1]);
                    dockerfile.built.extend(built.map(str::to_owned));
                }
                "COPY" => {
                    let Some(stage) = dockerfile.stages.get_mut(&current) else { continue };
                    let sources = rest.iter().filter_map(|word| word.strip_prefix("--from="));
                    stage.sources.extend(sources.map(str::to_owned));
                    let file = rest.last().and_then(|path| path.rsplit('/').next());
                    stage.files.extend(file.map(str::to_owned));
                }
                "CMD" => {
                    let Some(stage) = dockerfile.stages.get_mut(&current) else { continue };
                    let list: Vec<String> = serde_json::from_str(&rest.join(" ")).unwrap_or_default();
                    stage.command = list.into_iter().next();
                }
                _ => {}
            }
        }
        dockerfile
    }

    pub fn has(&self, stage: &str) -> bool {
        self.stages.contains_key(stage)
    }

    /// What runs in the stage's image when nobody says otherwise.
    pub fn command(&self, stage: &str) -> Option<&str> {
        self.lineage(stage).find_map(|stage| stage.command.as_deref())
    }

    /// Whether the stage or one it is built on holds the program.
    pub fn holds(&self, stage: &str, program: &str) -> bool {
        self.lineage(stage).any(|stage| stage.files.iter().any(|file| file == program))
    }

    fn lineage<'a>(&'a self, stage: &str) -> impl Iterator<Item = &'a Stage> {
        std::iter::successors(self.stages.get(stage), |stage| self.stages.get(&stage.base))
            // A stage built on itself would never end.
            .take(self.stages.len())
    }

    pub fn problems(&self, binaries: &[&str]) -> Vec<String> {
        let mut problems = Vec::new();
        for binary in &self.built {
            if !binaries.contains(&binary.as_str()) {
                problems.push(format!("Dockerfile: the workspace has no binary {binary}"));
            }
        }
        for (name, stage) in &self.stages {
            for source in stage.sources.iter().filter(|source| !self.has(source)) {
                problems.push(format!("Dockerfile: {name} copies from {source}, which is no stage"));
            }
        }
        problems
    }
}
