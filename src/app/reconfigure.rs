//! The process configuration, read again while the gateway runs: who is who changes, the rest waits for a restart.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use super::settings;
use crate::config::{Config, SandboxSettings};
use crate::identity::Registry;
use crate::live::reload::{Configuration, Look};
use crate::source::yaml::MOST_BYTES;
use crate::source::{Place, Problem};

/// The file that a configuration was read from.
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held.
    pub text: String,
    /// What the command line and the environment make of it.
    pub overrides: Box<dyn Fn(Config) -> Config + Send>,
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a configuration file is read again with.
struct Reader {
    file: ConfigFile,
    /// What the process was started with.
    running: Arc<Config>,
    /// What the file held when it was last looked at, or why it could not be read.
    seen: Result<String, String>,
    /// The sandboxes that it lists; `None` while it is broken.
    sandboxes: Option<Vec<SandboxSettings>>,
    /// Why they cannot be told apart, or have no token.
    fault: Option<Problem>,
    /// What its last text has to say.
    told: Look,
}

/// Looks at `file` again and again for the process that was started with `running`.
pub(super) fn follow(file: ConfigFile, running: &Arc<Config>) -> Configuration {
    let path = file.path.clone();
    let mut reader = Reader {
        running: Arc::clone(running),
        seen: Ok(file.text.clone()),
        sandboxes: Some(running.sandboxes.clone()),
        fault: None,
        told: Look::default(),
        file,
    };
    Configuration { path, look: Box::new(move |thorough, current| reader.look(thorough, current)) }
}

impl Reader {
    /// What there is to say, when the file or, if those are asked for, a token is another one.
    fn look(&mut self, thorough: bool, current: &Registry) -> Option<Look> {
        let text = read(&self.file.path).map_err(|error| error.to_string());
        let changed = text != self.seen;
        if changed {
            self.seen = text;
            self.parse();
        }
        let before = self.fault.clone();
        let registry = if changed || thorough { self.registry() } else { None };
        let registry = registry.filter(|registry| !registry.is_same(current));
        let news = changed || self.fault != before || registry.is_some();
        news.then(|| Look {
            registry,
            problems: self.told.problems.iter().chain(&self.fault).cloned().collect(),
            texts: self.told.texts.clone(),
            pending: self.told.pending.clone(),
        })
    }

    /// Takes over what the file holds, as far as it is good.
    fn parse(&mut self) {
        let name: Arc<str> = self.file.path.display().to_string().into();
        let mut told = Look::default();
        self.sandboxes = None;
        match self.seen.as_deref() {
            Ok(text) => match Config::parse(&name, text) {
                Ok(loaded) => {
                    told.problems = loaded.warnings;
                    let config = (self.file.overrides)(loaded.config);
                    told.pending = differences(&self.running, &config);
                    self.sandboxes = Some(config.sandboxes);
                }
                Err(problems) => {
                    told.problems = problems;
                    told.texts = BTreeMap::from([(name.to_string(), text.to_owned())]);
                }
            },
            Err(error) => {
                let problem = Problem::error(format!("cannot read {name}: {error}"));
                told.problems.push(problem.cure("check the path and its permissions"));
            }
        }
        told.problems.extend(pending(&told.pending).map(|message| {
            let place = Place { file: Arc::clone(&name), line: 1, column: 1 };
            Problem::warning(message).at(place).cure("restart the gateway, or change it back")
        }));
        self.told = told;
    }

    /// Who is who by the sandboxes of the file and everything else of the running process.
    ///
    /// SECURITY: a listener whose sandbox is gone leads to nobody, and what comes in there is refused: its sandbox must
    /// not live on until the restart that the listener waits for.
    fn registry(&mut self) -> Option<Registry> {
        let mut config = Config { sandboxes: self.sandboxes.clone()?, ..Config::clone(&self.running) };
        for listener in &mut config.listeners {
            listener.sandbox = None;
        }
        let registry = settings::registry(&config);
        self.fault = registry.as_ref().err().map(|error| {
            let message = format!("{}: {error:#}", self.file.path.display());
            Problem::error(message).cure("the sandboxes stay as they were until that is mended")
        });
        registry.ok()
    }
}

/// What waits for a restart, in words.
pub(super) fn pending(keys: &[&str]) -> Option<String> {
    (!keys.is_empty()).then(|| format!("takes effect after a restart: {}", keys.join(", ")))
}

/// The keys by which a configuration differs from the running one, besides `sandboxes`.
fn differences(running: &Config, config: &Config) -> Vec<&'static str> {
    // Whole, so that a key that is added is not forgotten here.
    let Config {
        policy,
        listeners,
        admin,
        dns,
        ech,
        networks,
        skip_egress_proxy,
        guards,
        secrets,
        intercept,
        sandboxes: _,
        audit,
        limits,
        capture,
        // Said by a flag alone.
        require_enforcement: _,
    } = config;
    let all = [
        ("policy", *policy == running.policy),
        ("listeners", *listeners == running.listeners),
        ("admin", *admin == running.admin),
        ("dns", *dns == running.dns),
        ("ech", *ech == running.ech),
        ("networks", *networks == running.networks),
        ("skipEgressProxy", *skip_egress_proxy == running.skip_egress_proxy),
        ("guards", *guards == running.guards),
        ("secrets", *secrets == running.secrets),
        ("intercept", *intercept == running.intercept),
        ("audit", *audit == running.audit),
        ("limits", *limits == running.limits),
        ("capture", *capture == running.capture),
    ];
    all.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

/// The text of a configuration file.
fn read(path: &Path) -> io::Result<String> {
    // A named pipe would hold up every later load until somebody writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
