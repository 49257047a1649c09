//! What a compose file says of its services.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Debug, Deserialize)]
pub struct Compose {
    pub services: BTreeMap<String, Service>,
    #[serde(default)]
    volumes: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Service {
    image: Option<String>,
    build: Option<Build>,
    command: Option<Words>,
    #[serde(default)]
    depends_on: DependsOn,
    healthcheck: Option<HealthCheck>,
    restart: Option<String>,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    volumes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Build {
    target: Option<String>,
}

#[derive(Debug, Deserialize)]
struct HealthCheck {
    test: Words,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    Line(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum DependsOn {
    Names(Vec<String>),
    Conditions(BTreeMap<String, Condition>),
}

impl Default for DependsOn {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
struct Condition {
    condition: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Environment {
    List(Vec<String>),
    Map(BTreeMap<String, Value>),
}

impl Default for Environment {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Compose {
    pub fn parse(text: &str) -> Result<Self> {
        let mut value: Value = serde_yaml_ng::from_str(text).context("docker-compose.yml is not YAML")?;
        value.apply_merge().context("docker-compose.yml has a bad merge")?;
        serde_yaml_ng::from_value(value).context("docker-compose.yml is not a compose file")
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// Files and folders of the workspace that services see.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let volumes = self.services.values().flat_map(|service| &service.volumes);
        volumes.filter_map(|volume| volume.split(':').next()).filter(|source| source.starts_with("./"))
    }

    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, service) in &self.services {
            if service.image.is_none() && service.build.is_none() {
                problems.push(format!("{name}: neither image nor build"));
            }
            for volume in service.named_volumes().filter(|volume| !self.volumes.contains_key(*volume)) {
                problems.push(format!("{name}: volume {volume} is not declared"));
            }
            for (dependency, condition) in service.dependencies() {
                problems.extend(self.dependency(name, dependency, condition));
            }
        }
        problems.extend(self.cycle());
        problems
    }

    fn dependency(&self, name: &str, dependency: &str, condition: &str) -> Option<String> {
        let Some(service) = self.service(dependency) else {
            return Some(format!("{name} depends on {dependency}, which is no service"));
        };
        match condition {
            "service_started" => None,
            "service_healthy" => service.healthcheck.is_none().then(|| {
                format!("{name} waits for the health of {dependency}, but {dependency} has no health check")
            }),
            // One that is restarted never completes.
            "service_completed_successfully" => (service.restart.as_deref() != Some("no"))
                .then(|| format!("{name}: {dependency} is to complete but restarts")),
            other => Some(format!("{name}: unknown condition {other}")),
        }
    }

    /// Takes away what depends on nothing left, until nothing changes.
    fn cycle(&self) -> Option<String> {
        let mut left: BTreeSet<&str> = self.services.keys().map(String::as_str).collect();
        loop {
            let waits = |name: &&str| {
                self.service(name)
                    .is_some_and(|service| service.dependencies().any(|(other, _)| left.contains(other)))
            };
            let next: BTreeSet<_> = left.iter().copied().filter(waits).collect();
            if next.is_empty() {
                return None;
            }
            if next == left {
                let names: Vec<_> = left.into_iter().collect();
                return Some(format!("services wait for each other: {}", names.join(", ")));
            }
            left = next;
        }
    }
}

impl Service {
    pub fn target(&self) -> Option<&str> {
        self.build.as_ref()?.target.as_deref()
    }

    /// The programs that its command and its health check call.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let command = self.command.as_ref().and_then(Words::first);
        let check = self.healthcheck.as_ref().and_then(|check| match &check.test {
            Words::List(list) if list.first().is_some_and(|word| word == "CMD") => {
                list.get(1).map(String::as_str)
            }
            Words::List(list) => list.get(1).and_then(|line| line.split_whitespace().next()),
            Words::Line(line) => line.split_whitespace().next(),
        });
        command.into_iter().chain(check)
    }

    pub fn variables(&self) -> Vec<String> {
        match &self.environment {
            Environment::Map(map) => map.keys().cloned().collect(),
            Environment::List(list) => {
                list.iter().filter_map(|entry| entry.split('=').next()).map(str::to_owned).collect()
            }
        }
    }

    fn dependencies(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs: Vec<_> = match &self.depends_on {
            DependsOn::Names(names) => names.iter().map(|name| (name.as_str(), "service_started")).collect(),
            DependsOn::Conditions(map) => {
                map.iter().map(|(name, entry)| (name.as_str(), entry.condition.as_str())).collect()
            }
        };
        pairs.into_iter()
    }

    /// `name:/path`, not `./folder:/path` and not `/folder:/path`.
    fn named_volumes(&self) -> impl Iterator<Item = &str> {
        let sources = self.volumes.iter().filter_map(|volume| volume.split_once(':'));
        sources.map(|(source, _)| source).filter(|source| !source.starts_with(['.', '/', '~']))
    }
}

impl Words {
    fn first(&self) -> Option<&str> {
        match self {
            Self::List(list) => list.first().map(String::as_str),
            Self::Line(line) => line.split_whitespace().next(),
        }
    }
}
