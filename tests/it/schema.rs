//! The JSON Schemas, asked by a validator that is not ours: what is shipped fits, what is refused does not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::process::BINARY;
use crate::kit::tool;

/// Says which documents of YAML files do not fit the schema in the first argument.
const VALIDATE: &str = r#"
import json, sys, jsonschema, yaml
schema = jsonschema.Draft202012Validator(json.load(open(sys.argv[1])))
for name in sys.argv[2:]:
    for place, document in enumerate(yaml.safe_load_all(open(name))):
        if any(schema.iter_errors(document)):
            print(f"{name}#{place}")
"#;

/// The files that do not fit a schema, each with its document; `None` where there is no validator.
async fn misfits(schema: &str, files: &[PathBuf]) -> Option<Vec<String>> {
    let python = tool::find("python")?;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("schema.json");
    let printed = tool::run(Path::new(BINARY), ["schema", schema]).await;
    fs::write(&place, printed.stdout).unwrap();
    let words = ["-c".into(), VALIDATE.into(), place].into_iter().chain(files.iter().cloned());
    let ran = tool::run(&python, words).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    Some(ran.stdout.lines().map(str::to_owned).collect())
}

/// Every YAML file in directories of the project.
fn shipped(directories: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inside = |directory: &&str| fs::read_dir(root.join(directory)).unwrap();
    let paths = directories.iter().flat_map(inside).map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect()
}

#[tokio::test]
async fn every_shipped_policy_and_configuration_fits_its_schema() {
    let policies = [
        "policies",
        "policies/multi-tenant",
        "deploy/compose/policies",
        "deploy/compose/policies-inside-tls",
    ];
    let policies = shipped(&policies);
    assert!(policies.len() >= 13, "{policies:?}");
    let Some(wrong) = misfits("policy", &policies).await else { return };
    assert_eq!(wrong, [""; 0]);
    let mut configurations = shipped(&["deploy/compose", "deploy/nftables", "deploy/systemd"]);
    configurations.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("gate"));
    assert_eq!(configurations.len(), 4);
    assert_eq!(misfits("config", &configurations).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_examples_of_the_readme_fit_the_schema_and_a_slip_in_them_does_not() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, block) in readme.split("\n```yaml\n").skip(1).enumerate() {
        let text = format!("{}\n", block.split("\n```").next().unwrap());
        let [whole, slipped] =
            ["good", "bad"].map(|kind| directory.path().join(format!("{kind}{number}.yaml")));
        fs::write(&whole, &text).unwrap();
        good.push(whole);
        if text.contains("operation: Set") || text.contains("clientSecret") {
            fs::write(
                &slipped,
                text.replace("operation: Set", "operation: set").replace("clientSecret", "secret"),
            )
            .unwrap();
            bad.push(slipped);
        }
    }
    assert!(good.len() >= 4 && bad.len() == 2, "{good:?} {bad:?}");
    let Some(wrong) = misfits("policy", &good).await else { return };
    assert_eq!(wrong, [""; 0]);
    assert_eq!(misfits("policy", &bad).await.unwrap().len(), 2);
}

/// A configuration in which every key is written that says who reaches what, and how.
const WHOLE: &str = r"policy: {path: /etc/sluicegate/policies}
listeners:
  - {address: 0.0.0.0:3128, kind: Explicit}
  - {address: 0.0.0.0:15001, kind: Transparent}
admin: {address: 127.0.0.1:9901, socket: /run/sluicegate/admin.sock, tokens: [{name: ops, role: Owner, token: {file: /run/secrets/admin}}]}
dns: {servers: [10.0.0.53:53], maxTtlSeconds: 60}
ech: Allow
networks:
  managed: {}
  prod: {interface: eth1, sourceAddress: 10.20.0.4, mark: 0x5b000000, dns: [10.20.0.53:53]}
guards: {exempt: [127.0.0.8/29], nat64: [], self: []}
secrets: {allow: {directories: [/run/secrets], env: [GITHUB_TOKEN]}}
intercept: {certificate: ca.pem, key: ca-key.pem, upstreamRoots: [corp.pem]}
sandboxes:
  - {id: sbx-1, group: agents, sources: [10.200.1.2/32], token: {env: SBX1_TOKEN}}
audit: {sinks: [{stdout: {}}, {file: {path: /var/log/sluicegate/audit.jsonl, maxBytes: 268435456, keep: 8}}], onFull: Block}
limits: {connections: 10000, headerBytes: 65536, headerTimeoutMs: 10000, connectTimeoutMs: 10000, idleTimeoutMs: 3600000, drainTimeoutMs: 10000}
";

/// Documents that name every kind, and the smallest one.
const DOCUMENTS: &str = r#"apiVersion: sluicegate/v1
kind: EgressPolicy
metadata: {name: coding-agent, scope: Sandbox, group: agents, sandbox: sbx-42}
spec:
  mode: VNet
  vnet:
    network: prod
    securityRules: [{name: in, priority: 100, action: Allow, destination: [10.0.0.0/8, "*"], ports: [443, 8000-9000], protocol: Tcp}]
    managedPath: {packageRegistries: {pypi: true}, codeRepositories: {github: true}, remoteMcpServers: [mcp.test], additionalHosts: ["*.test"]}
  constraints: {maxMode: VNet, managedPath: Forbidden, skipEgressProxy: Permitted}
  skipEgressProxy: false
---
mode: Limited
hostRules: [pypi.org, files.pythonhosted.org, "*.github.com"]
---
kind: Secret
metadata: {name: github, group: agents}
spec: {keys: {token: {file: /run/secrets/github}}, hosts: [api.github.com]}
"#;

#[tokio::test]
async fn what_networks_and_documents_in_mode_vnet_may_say_fits_and_a_slip_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let other = "{proxy: http://10.20.0.9:3128, resolve: Remote, groups: [agents]}";
    let (from, to) = WHOLE.split_once("prod: {").unwrap();
    let other = format!("{from}prod: {other}\n{}", to.split_once('\n').unwrap().1);
    let good = [write("whole.yaml", WHOLE), write("other.yaml", &other)];
    let Some(wrong) = misfits("config", &good).await else { return };
    assert_eq!(wrong, [""; 0]);
    let slips =
        ["remote", "Remot"].map(|slip| write(&format!("{slip}.yaml"), &other.replace("Remote", slip)));
    assert_eq!(misfits("config", &slips).await.unwrap().len(), 2);
    assert_eq!(misfits("policy", &[write("documents.yaml", DOCUMENTS)]).await.unwrap(), [""; 0]);
    let slips = [("network:", "net:"), ("priority: 100", "priority: 99"), ("mode: VNet", "mode: VNET")];
    let slips = slips.map(|(from, to)| write(&to.replace([':', ' '], ""), &DOCUMENTS.replacen(from, to, 1)));
    assert_eq!(misfits("policy", &slips).await.unwrap().len(), 3);
}
