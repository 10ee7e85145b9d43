//! A whole gateway in this process: on free ports, with its policy in a file and its audit log in another.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicegate::app::{self, ConfigFile, Running, StartError};
use sluicegate::config::{Config, ListenerKind, ListenerSettings, SandboxSettings, SinkSettings};
use tempfile::TempDir;

use super::client::Client;
use super::dns::{Answer, Dns};
use super::origin::Origin;
use super::{PATIENCE, background, within};

/// The prefix that test origins live in, exempt from the guards.
pub const EXEMPT: &str = "127.0.0.8/29";

/// A sandbox that is known by its address.
pub fn by_source(id: &str, source: &str) -> SandboxSettings {
    let sources = vec![format!("{source}/32").parse().expect("an IPv4 address")];
    SandboxSettings { id: Arc::from(id), group: None, sources, token: None, require_policy: false }
}

/// A running gateway.
pub struct Gateway {
    running: Option<Running>,
    directory: TempDir,
    /// Its name server.
    pub dns: Dns,
}

impl Gateway {
    /// A gateway under one policy file, with every default but free ports.
    pub async fn start(policy: &str) -> Self {
        Self::with(policy, |_| {}).await
    }

    /// A gateway under which these names are these origins, each allowed on its port.
    pub async fn allowing<const N: usize>(origins: [(&str, &Origin); N]) -> Self {
        let rules = origins.map(|(name, origin)| format!("'{name}:{}'", origin.port()));
        let gateway = Self::start(&format!("mode: Limited\nhostRules: [{}]\n", rules.join(", "))).await;
        for (name, origin) in origins {
            gateway.name(name, origin);
        }
        gateway
    }

    /// Lets a name lead to an origin.
    pub fn name(&self, name: &str, origin: &Origin) {
        self.dns.says(name, Answer::addresses([origin.address().ip().to_string().as_str()]));
    }

    /// A gateway under one policy file and a configuration that `change` has changed.
    pub async fn with(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        match Self::try_with(policy, change).await {
            Ok(gateway) => gateway,
            Err(StartError::Policy(loaded)) => panic!("the policy has problems: {:#?}", loaded.problems),
            Err(StartError::Other(error)) => panic!("the gateway does not start: {error:#}"),
        }
    }

    /// A gateway, or why it does not start.
    pub async fn try_with(policy: &str, change: impl FnOnce(&mut Config)) -> Result<Self, StartError> {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("policies")).expect("a directory");
        std::fs::write(policy_file(directory.path()), policy).expect("the policy is written");
        let dns = Dns::start().await;
        let mut config = Config {
            policy: Some(directory.path().join("policies")),
            listeners: vec![ListenerSettings::new(free_port(), ListenerKind::Explicit)],
            ..Config::default()
        };
        config.admin.address = free_port();
        config.dns.servers = vec![dns.address()];
        config.guards.exempt = vec![EXEMPT.parse().expect("a prefix")];
        let path = directory.path().join("audit.jsonl");
        config.audit.sinks = vec![SinkSettings::File { path, max_bytes: 1 << 30, keep: 2 }];
        config.limits.drain_timeout = Duration::from_secs(2);
        change(&mut config);
        // On the background runtime, so that it outlives the runtime of a part of a test.
        let running = background()
            .spawn(async move { app::start(config, None) })
            .await
            .expect("start does not panic")?;
        Ok(Self { running: Some(running), directory, dns })
    }

    /// A gateway from a configuration file that holds `more` besides what every test needs; see [`Self::configure`].
    pub async fn configured(policy: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("policies")).expect("a directory");
        std::fs::write(policy_file(directory.path()), policy).expect("the policy is written");
        let dns = Dns::start().await;
        let mut gateway = Self { running: None, directory, dns };
        let (path, text) = (gateway.config_file(), gateway.config(more));
        std::fs::write(&path, &text).expect("the configuration is written");
        let name = path.display().to_string().into();
        let config = Config::parse(&name, &text).unwrap_or_else(|problems| panic!("{problems:#?}")).config;
        let file = ConfigFile { path, text, overrides: Box::new(|config| config) };
        let start = background().spawn(async move { app::start(config, Some(file)) });
        let running = start.await.expect("start does not panic");
        gateway.running = Some(running.unwrap_or_else(|error| panic!("{error:?}")));
        gateway
    }

    /// Replaces the configuration file by one that holds `more`, and answers the record of the load that follows.
    pub async fn configure(&self, more: &str) -> Value {
        self.replace_config(&self.config(more)).await
    }

    /// Replaces the configuration file at once, and answers the record of the load that follows.
    pub async fn replace_config(&self, text: &str) -> Value {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, text).expect("the configuration is written");
        self.after_load(|| std::fs::rename(&draft, self.config_file()).expect("it is replaced")).await
    }

    /// Makes a change and answers the record of the load that follows it.
    pub async fn after_load(&self, change: impl FnOnce()) -> Value {
        let before = self.loads().await;
        change();
        let records = self.wait_for("a load", |records| loads(records) > before).await;
        let mut of_loads = records.into_iter().filter(is_load);
        of_loads.next_back().expect("it was just seen")
    }

    /// The configuration file of a gateway that has one.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("gate.yaml")
    }

    /// What every test needs, unless `more` says it, and `more`.
    fn config(&self, more: &str) -> String {
        let own = |name: &str| self.directory.path().join(name).display().to_string();
        let base = [
            ("policy", format!("{{path: '{}'}}", own("policies"))),
            ("listeners", "[{address: '127.0.0.1:0'}]".to_owned()),
            ("admin", "{address: '127.0.0.1:0'}".to_owned()),
            ("dns", format!("{{servers: ['{}']}}", self.dns.address())),
            ("guards", format!("{{exempt: [{EXEMPT}]}}")),
            ("audit", format!("{{sinks: [{{file: {{path: '{}'}}}}]}}", own("audit.jsonl"))),
            ("limits", "{drainTimeoutMs: 2000}".to_owned()),
        ];
        let said = |key: &str| more.lines().any(|line| line.starts_with(&format!("{key}:")));
        let base = base.iter().filter(|(key, _)| !said(key)).map(|(key, value)| format!("{key}: {value}\n"));
        base.collect::<String>() + more
    }

    /// The running gateway.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Where clients connect.
    pub fn proxy(&self) -> SocketAddr {
        self.running().listeners[0]
    }

    /// Where the admin server is.
    pub fn admin(&self) -> SocketAddr {
        self.running().admin
    }

    /// The directory of policy files.
    pub fn policies(&self) -> PathBuf {
        self.directory.path().join("policies")
    }

    /// The audit file.
    pub fn audit_file(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    /// A connection to the proxy.
    pub async fn client(&self) -> Client {
        Client::connect(self.proxy()).await
    }

    /// Replaces the policy file as an editor does, and waits until the gateway has loaded it.
    pub async fn set_policy(&self, policy: &str) {
        let before = self.loads().await;
        let file = policy_file(self.directory.path());
        let draft = file.with_extension("draft");
        std::fs::write(&draft, policy).expect("the policy is written");
        std::fs::rename(&draft, &file).expect("the policy is replaced");
        self.wait_for("the policy to be loaded", |records| loads(records) > before).await;
    }

    /// How often the policy was loaded.
    pub async fn loads(&self) -> usize {
        loads(&self.records().await)
    }

    /// Every audit record so far, as parsed from the file.
    pub async fn records(&self) -> Vec<Value> {
        within("the audit log to be written", self.running().audit().flushed()).await;
        read_records(&self.audit_file())
    }

    /// Waits until the records are as wanted, and answers them.
    pub async fn wait_for(&self, what: &str, mut enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let looking = async {
            loop {
                let records = self.records().await;
                if enough(&records) {
                    return records;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, looking).await;
        waited.unwrap_or_else(|_| {
            panic!("waited in vain for {what}; the records are {:#?}", read_records(&self.audit_file()))
        })
    }

    /// Waits for the first record of a kind about a host.
    pub async fn record(&self, kind: &str, host: &str) -> Value {
        let is_it = |record: &Value| record["kind"] == kind && record["host"] == host;
        let what = format!("a {kind} record about {host}");
        let records = self.wait_for(&what, |records| records.iter().any(is_it)).await;
        records.into_iter().find(is_it).expect("it was just seen")
    }

    /// Waits until this many requests and connections have ended, and answers their records.
    pub async fn calls(&self, count: usize) -> Vec<Value> {
        let of_calls = |records: &[Value]| -> Vec<Value> {
            let is_call = |record: &&Value| record["kind"] == "request" || record["kind"] == "connection";
            records.iter().filter(is_call).cloned().collect()
        };
        let what = format!("{count} records of requests and connections");
        let calls = of_calls(&self.wait_for(&what, |records| of_calls(records).len() >= count).await);
        assert_eq!(calls.len(), count, "{calls:#?}");
        calls
    }

    /// Gets a path of the admin server: status and body.
    pub async fn admin_get(&self, path: &str) -> (u16, String) {
        let mut client = Client::connect(self.admin()).await;
        let host = self.admin();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let response = client.ask(request).await;
        (response.status, response.body)
    }

    /// A metric, by its name and its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin_get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }

    /// Stops the gateway and answers its last records.
    pub async fn stop(mut self) -> Vec<Value> {
        let running = self.running.take().expect("it runs");
        let stopping = background().spawn(async move { running.stop().await });
        within("the gateway to stop", stopping).await.expect("stopping does not panic");
        read_records(&self.audit_file())
    }
}

impl Drop for Gateway {
    /// Stops the gateway in the background, so that the tests after this one find its threads and watches gone.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            background().spawn(running.stop());
        }
    }
}

/// The one policy file.
fn policy_file(directory: &Path) -> PathBuf {
    directory.join("policies").join("policy.yaml")
}

/// Any free port of 127.0.0.1.
fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Whether a record tells of a load, and not of one document that it widened.
pub fn is_load(record: &Value) -> bool {
    record["kind"] == "policy" && record["policy"].is_null()
}

/// How many records tell of a load.
fn loads(records: &[Value]) -> usize {
    records.iter().filter(|record| is_load(record)).count()
}

/// The complete lines of an audit file.
pub fn read_records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the audit file");
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
